"""The language model that is trained: loading, prompts, the pass to hidden states, weights out and in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dapoctl.errors import ModelError
from dapoctl.head import Head
from dapoctl.lora import Adapters, add_adapters, cast_frozen, require_peft
from dapoctl.models import locate
from dapoctl.packing import Layout, packs_exactly, register

if TYPE_CHECKING:
    from dapoctl.config import RunConfig
    from dapoctl.config.schema import ModelConfig


@dataclass
class Policy:
    """A causal language model split where the vocabulary begins: `body` gives hidden states, `head` logits.

    Weights are float32, so that small updates are not rounded away; with `dtype = "bfloat16"` the layers compute in
    bfloat16 through autocast.
    """

    path: str
    """The local folder or hub name that the weights came from"""
    model: Any
    tokenizer: Any
    device: torch.device
    compute_dtype: torch.dtype
    template: str = "auto"
    temperature: float = 1.0
    """The policy is softmax(logits / temperature)"""
    eos_token_ids: list[int] = field(default_factory=list)
    adapters: Adapters | None = None
    """What is trained in place of the model's weights, when `lora.rank` is set"""
    packs: bool = False
    """Whether packed sequences give what padded ones give; not so where layers mix tokens other than by attention"""

    def __post_init__(self) -> None:
        self.body: nn.Module = self.model.get_decoder()
        text_config = self.model.config.get_text_config()
        self.max_positions = int(getattr(text_config, "max_position_embeddings", None) or 2**31)
        cap = getattr(text_config, "final_logit_softcapping", None)
        self.head = Head(self.model.get_output_embeddings(), cap, self.temperature, self.compute_dtype)
        self.pad_token_id = next(int(i) for i in (self.tokenizer.pad_token_id, *self.eos_token_ids, 0) if i is not None)

    def hidden(self, ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        """The body's output for ids [b, L], right- or left-padded; `last_hidden_state` is [b, L, D]."""
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with self.autocast():
            return self.body(input_ids=ids, attention_mask=attention_mask, position_ids=positions, **options)

    def packed_hidden(self, ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        """The body's last hidden states [1, L, D] for packed ids [1, L]."""
        # A mask of four dimensions is passed through as it is; `packing.attention` has no use for it.
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
        with self.autocast():
            output = self.body(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, packing=layout
            )
        states: Tensor = output.last_hidden_state
        return states

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which layers compute in `compute_dtype`, with or without adapters as this policy has them."""
        with contextlib.ExitStack() as stack:
            if self.compute_dtype == torch.bfloat16:
                stack.enter_context(torch.autocast(self.device.type, self.compute_dtype))
            if self.adapters is not None:
                stack.enter_context(self.adapters.applied())
            yield

    def merged(self) -> contextlib.AbstractContextManager[None]:
        """The context for many short passes without gradient: adapters, if there are any, are merged where that is exact."""
        return contextlib.nullcontext() if self.adapters is None else self.adapters.merged()

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a problem's prompt, through the chat template when there is one, with exactly one `<bos>`."""
        bos = self.tokenizer.bos_token_id
        if self.template == "chat" or (self.template == "auto" and self.tokenizer.chat_template):
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer(text, add_special_tokens=False).input_ids
            return list(ids)
        ids = list(self.tokenizer(prompt + "\n", add_special_tokens=False).input_ids)
        return ids if bos is None else [bos, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer trains."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight once, under its checkpoint name; tied weights under their first name; adapters merged."""
        if self.adapters is not None:
            yield from self.adapters.named_weights()
            return
        for name, parameter in self.model.named_parameters():
            yield name, parameter.detach()

    def save(self, directory: Path) -> None:
        """Write the model and its tokenizer in transformers format, weights as safetensors; or just the adapters."""
        if self.adapters is not None:
            self.adapters.save(directory)
            return
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


def pick_device(name: str) -> torch.device:
    """The device that `train.device` names.

    Raises:
        ModelError: a CUDA device was asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"`train.device` = {name!r}: this machine has no usable CUDA device; use auto or cpu")
    return torch.device(name)


def load_policy(config: RunConfig, weights: Path | None = None) -> Policy:
    """The model that `config` names; its weights from `weights`, a checkpoint's model folder, when given.

    With `lora.rank`, the model's own weights are frozen and `weights` holds adapters.

    Raises:
        ModelError: not a causal language model that can be loaded, or too short for the run's prompts and responses.
    """
    device = pick_device(config.train.device)
    whole = config.lora.rank == 0
    if not whole:
        require_peft(config.lora)
    source = str(weights) if weights and whole else locate(config.model.path)
    model, tokenizer = _load(source, config.model)
    _freeze_other_towers(model)
    adapters = None if whole else add_adapters(model, config, source, weights)
    if adapters is not None:
        cast_frozen(model, compute_dtype(config, device))
    model.to(device)
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
    )
    check_lengths(policy, config)
    policy.head.check(policy)
    policy.packs = config.train.packing and register(model) and packs_exactly(policy)
    return policy


def load_reference(config: RunConfig, policy: Policy) -> Policy:
    """The frozen initial policy; kept in the compute type, since it is never updated. Of a policy with adapters: the same
    model without them.
    """
    if policy.adapters is not None:
        return dataclasses.replace(policy, adapters=policy.adapters.off())
    model, _ = _load(locate(config.model.path), config.model)
    cast_frozen(model.requires_grad_(False), policy.compute_dtype)
    model.to(policy.device)
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
    )


def compute_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    """`model.dtype`, with auto resolved."""
    auto = "float32" if device.type == "cpu" else "bfloat16"
    name = auto if config.model.dtype == "auto" else config.model.dtype
    return torch.float32 if name == "float32" else torch.bfloat16


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


def _load(source: str, config: ModelConfig) -> tuple[Any, Any]:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = Path(source).expanduser()
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    if path.suffix == ".gguf" and path.is_file():
        source, options["gguf_file"] = str(path.parent), path.name
    elif path.is_dir() and not (path / "config.json").is_file():
        raise ModelError(
            f"`model.path` = {config.path!r}: the folder has no config.json, so it is no model in transformers format"
        )
    elif not path.exists() and (source.startswith((".", "/", "~")) or source.count("/") != 1):
        raise ModelError(f"`model.path` = {config.path!r}: no such folder, and not a hub name (owner/name)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        loader: Any = AutoModelForCausalLM
        model, info = loader.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **options)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"`model.path` = {config.path!r} cannot be loaded: {reason[0]}") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"`model.path` = {config.path!r}: the checkpoint lacks {len(missing)} weights that the model needs, such as"
            f" {missing[0]}"
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
