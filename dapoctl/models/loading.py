"""From a model's name to a policy and its reference: loading, checking, freezing what is not trained."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from dapoctl.errors import ModelError, RunWarning
from dapoctl.models import kind_of, locate, masters, varlen
from dapoctl.models.lora import add_adapters, cast_frozen, require_peft
from dapoctl.models.packing import pack, register
from dapoctl.models.policy import Policy, place

if TYPE_CHECKING:
    from dapoctl.config import RunConfig
    from dapoctl.config.schema import ModelConfig


TOKENIZER = "tokenizer_config.json"
"""What every saved tokenizer has"""


def pick_device(name: str) -> torch.device:
    """The device that `train.device` names.

    Raises:
        ModelError: a CUDA device was requested and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ModelError(f"`train.device` = {name!r}: this machine has no usable CUDA device; use auto or cpu")
        # Read at the first allocation. Without it, what an update has freed between its optimizer's states stays in pieces that
        # an engine that wakes cannot have.
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    return torch.device(name)


def load_policy(config: RunConfig, weights: Path | None = None) -> Policy:
    """The model that `config` names; its weights from `weights`, a checkpoint's model folder, if given.

    With `lora.rank`, the model's own weights are frozen and `weights` holds adapters.

    Raises:
        ModelError: not a causal language model that can be loaded, or too short for the run's prompts and responses.
    """
    device = pick_device(config.train.device)
    for key in ("offload_weights", "offload_activations"):
        if device.type == "cpu" and getattr(config.train, key):
            raise ModelError(f"`train.{key}` = true: there is no GPU whose memory this would save; leave it out")
    whole = config.lora.rank == 0
    if not whole:
        require_peft(config.lora)
    source = str(weights) if weights and whole else locate(config.model.path)
    if weights and whole and not (weights / TOKENIZER).is_file():
        # Without it transformers makes another tokenizer of what else it finds.
        raise ModelError(f"checkpoint `{weights}` has no {TOKENIZER}: a file of its tokenizer is missing")
    model, tokenizer = _load(source, config.model, f"checkpoint `{weights}`" if weights and whole else "")
    _freeze_other_towers(model)
    adapters = None if whole else add_adapters(model, config, source, weights)
    if adapters is not None:
        cast_frozen(model, compute_dtype(config, device))
    narrowed = masters.narrow(model, compute_dtype(config, device)) if config.optim.master_weights else {}
    place(model, device)
    if config.train.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
    policy = Policy(
        path=source,
        model=model,
        tokenizer=tokenizer,
        device=device,
        compute_dtype=compute_dtype(config, device),
        template=config.model.template,
        temperature=config.rollout.temperature,
        eos_token_ids=_stop_ids(model, tokenizer),
        adapters=adapters,
        masters=masters.attach(model, narrowed, on_host=config.optim.states == "offload"),
    )
    check_lengths(policy, config)
    check_head(policy)
    if config.train.packing:
        policy.packs = register(model) and packs_exactly(policy)
        if not policy.packs:
            warnings.warn(
                f"`train.packing`: `{config.model.path}` gives other results with packed sequences than with padded ones, so"
                " they are padded, and each prompt is computed once for each response to it; `train.packing = false` asks"
                " for that",
                RunWarning,
                stacklevel=2,
            )
        elif device.type == "cuda":
            _choose_kernel(policy)
    return policy


def _choose_kernel(policy: Policy) -> None:
    """Attention by the kernel for rows of any length, where it can be had."""
    why = varlen.obstacle(policy)
    policy.varlen = not why
    if why and policy.compute_dtype in varlen.TYPES:
        warnings.warn(
            f"torch's attention for rows of any length is not used ({why}), so sliding windows are computed with masks, which"
            " takes several times as long; a newer torch or GPU has it",
            RunWarning,
            stacklevel=3,
        )


def load_reference(config: RunConfig, policy: Policy) -> Policy:
    """The frozen initial policy; kept in the compute type, since it is never updated. Of a policy with adapters: the same
    model without them.
    """
    if policy.adapters is not None:
        return dataclasses.replace(policy, adapters=policy.adapters.off())
    model, _ = _load(locate(config.model.path), config.model)
    cast_frozen(model.requires_grad_(False), policy.compute_dtype)
    place(model, policy.device)
    if policy.packs:
        register(model)
    return Policy(
        path=policy.path,
        model=model,
        tokenizer=policy.tokenizer,
        device=policy.device,
        compute_dtype=policy.compute_dtype,
        temperature=policy.temperature,
        eos_token_ids=policy.eos_token_ids,
        packs=policy.packs,
        varlen=policy.varlen,
    )


def compute_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    """`model.dtype`, with auto resolved."""
    auto = "float32" if device.type == "cpu" else "bfloat16"
    name = auto if config.model.dtype == "auto" else config.model.dtype
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def check_lengths(policy: Policy, config: RunConfig) -> None:
    """Refuse prompts and responses that the model has no positions for.

    Raises:
        ModelError: naming the keys and the model's limit.
    """
    prompt, response = config.rollout.max_prompt_tokens, config.rollout.max_response_tokens
    if prompt + response > policy.max_positions:
        raise ModelError(
            f"`rollout.max_prompt_tokens` = {prompt} and `rollout.max_response_tokens` = {response} need"
            f" {prompt + response} positions, but the model `{config.model.path}` has {policy.max_positions};"
            f" lower them to at most {policy.max_positions} together"
        )


@torch.no_grad()
def check_head(policy: Policy) -> None:
    """Compare the logits of `policy.head` with the model's own forward pass.

    Raises:
        ModelError: the model transforms its logits in a way that is not supported.
    """
    ids = torch.arange(1, 9, device=policy.device)[None]
    mask = torch.ones_like(ids)
    extra = {}
    if policy.model.config.model_type != policy.model.config.get_text_config().model_type:
        extra["token_type_ids"] = torch.zeros_like(ids)
    with policy.autocast():
        own = policy.model(input_ids=ids, attention_mask=mask, **extra).logits.float()
    if bool(own.isnan().any()):
        raise ModelError(
            f"`{policy.path}`: the model's logits are not numbers (NaN): its weights are damaged, or too large for"
            f" {str(policy.compute_dtype).removeprefix('torch.')}"
        )
    computed = policy.head.logits(policy.hidden(ids, mask).last_hidden_state)
    scale = own.abs().max().clamp(min=1)
    if (own - computed).abs().max() > 0.05 * scale:
        raise ModelError(
            f"`model.path` = {policy.path!r}: models of type {policy.model.config.model_type} transform their logits"
            " in a way that dapoctl does not know, so log-probabilities would be wrong"
        )


def _load(source: str, config: ModelConfig, name: str = "") -> tuple[Any, Any]:
    """(model, tokenizer); `name` stands for the source in errors, where that is not the configured model."""
    name = name or f"`model.path` = {config.path!r}"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = Path(source).expanduser()
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    kind = kind_of(source)
    if kind == "gguf":
        source, options["gguf_file"] = str(path.parent), path.name
    elif kind == "folder" and not (path / "config.json").is_file():
        raise ModelError(f"{name}: the folder has no config.json, so it is not a model in transformers format")
    elif not kind:
        raise ModelError(f"{name}: no such folder, and not a hub name (owner/name)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        loader: Any = AutoModelForCausalLM
        model, info = loader.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **options)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{name} cannot be loaded: {reason[0]}") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{name}: the checkpoint lacks {len(missing)} weights that the model needs, such as {missing[0]}"
        )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for parameter in model.parameters():
        # A view on the mapped file may lie at any address, and kernels round by alignment: a resumed run would differ.
        parameter.data = parameter.data.clone()
    return model.eval(), tokenizer


def _freeze_other_towers(model: Any) -> None:
    """Train the language model only: a vision tower takes no part in text, and would get no gradient."""
    trained = {id(p) for p in model.get_decoder().parameters()}
    trained |= {id(p) for p in model.get_output_embeddings().parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    ids: list[int] = []
    for source in (tokenizer, model.generation_config, model.config):
        value = getattr(source, "eos_token_id", None)
        ids += [value] if isinstance(value, int) else list(value or [])
    return list(dict.fromkeys(ids))


@torch.no_grad()
def packs_exactly(policy: Policy) -> bool:
    """Whether packed and padded hidden states agree, tried on two groups of two responses, in float32.

    They do not where layers mix tokens other than by attention, as convolutions and recurrences do. Such a layer of little
    weight changes less than the rounding of bfloat16 does, which other kernels round otherwise: only float32 tells them apart.
    """
    groups = [([7, 8, 9, 10, 11], [[12, 13, 14, 15], [16, 17]]), ([18, 19, 20], [[21, 22, 23, 24, 25, 26], [27]])]
    rows = [torch.tensor(prompt + response) for prompt, responses in groups for response in responses]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    layout = pack([(len(prompt), [len(response) for response in responses]) for prompt, responses in groups])
    ids = torch.cat([torch.tensor([*prompt, *first, *second]) for prompt, (first, second) in groups])[None]
    positions = torch.tensor([*range(9), 5, 6, *range(9), 3])[None]
    device = policy.device
    exact = dataclasses.replace(policy, compute_dtype=torch.promote_types(torch.float32, policy.compute_dtype))
    with in_float32(policy.model):
        padded = exact.hidden(pad_sequence(rows, batch_first=True).to(device), mask.to(device), use_cache=False)
        try:
            packed = exact.packed_hidden(ids.to(device), positions.to(device), layout.to(device))[0]
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, RuntimeError):
            return False
    states = padded.last_hidden_state
    expected = torch.cat([states[0, :9], states[1, 5:7], states[2, :9], states[3, 3:4]])
    return bool((packed - expected).abs().max() <= 1e-4 * expected.abs().max())


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Compute with float32 copies of weights that have fewer bits, which exist for one module at a time."""
    kept: dict[Any, list[tuple[Any, torch.Tensor]]] = {}

    def widen(module: Any, _inputs: Any) -> None:
        small = [each for each in module.parameters(recurse=False) if each.dtype in (torch.bfloat16, torch.float16)]
        kept[module] = [(each, each.data) for each in small]
        for each in small:
            each.data = each.data.float()

    def narrow(module: Any, _inputs: Any, _output: Any) -> None:
        for each, data in kept.pop(module, ()):
            each.data = data

    owners = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    hooks = [hook for module in owners for hook in (
        module.register_forward_pre_hook(widen), module.register_forward_hook(narrow, always_call=True)
    )]  # fmt: skip
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
