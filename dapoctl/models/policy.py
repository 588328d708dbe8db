"""The language model that is trained: prompts, the pass to hidden states, weights out and in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dapoctl.errors import DataError
from dapoctl.models.head import Head
from dapoctl.models.lora import Adapters
from dapoctl.models.packing import Layout


@dataclass
class Policy:
    """A causal language model split where the vocabulary begins: `body` gives hidden states, `head` logits.

    Weights are float32, so that small updates are not rounded away; with `dtype` bfloat16 or float16 the layers compute in
    that through autocast. Those in `masters` are rounded already.
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
    masters: dict[nn.Parameter, Tensor] = field(default_factory=dict)
    """Float32 values of the weights that are kept in `compute_dtype` (`optim.master_weights`)"""
    packs: bool = False
    """Whether packed sequences give the same as padded ones; not if layers mix tokens other than by attention"""
    varlen: bool = False
    """Whether packed rows go to torch's kernel for rows of any length (see `varlen`)"""

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
        # A mask of four dimensions is passed through as it is; `packing.attention` does not use it.
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
            if self.compute_dtype in (torch.bfloat16, torch.float16):
                stack.enter_context(torch.autocast(self.device.type, self.compute_dtype))
            if self.adapters is not None:
                stack.enter_context(self.adapters.applied())
            yield

    def merged(self) -> contextlib.AbstractContextManager[None]:
        """The context for many short passes without gradient: adapters, if there are any, are merged where that is exact."""
        return contextlib.nullcontext() if self.adapters is None else self.adapters.merged()

    @property
    def prompted_by(self) -> str:
        """`chat` if prompts go through the chat template, `plain` if not: what `template` comes to with this model."""
        chat = self.template == "chat" or (self.template == "auto" and self.tokenizer.chat_template)
        return "chat" if chat else "plain"

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a problem's prompt, through the chat template if there is one, with exactly one `<bos>`.

        Raises:
            DataError: it is not text.
        """
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the prompt {prompt[:60]!r} has a lone surrogate at character {error.start}, which no tokenizer reads as"
                " text; mend the data"
            ) from None
        if self.prompted_by == "chat":
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer(text, add_special_tokens=False).input_ids
            return list(ids)
        return self.encode_text(prompt + "\n")

    def encode_text(self, text: str) -> list[int]:
        """Token ids of plain text after `<bos>`, without a template."""
        bos = self.tokenizer.bos_token_id
        ids = list(self.tokenizer(text, add_special_tokens=False).input_ids)
        return ids if bos is None else [bos, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer trains."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def exact(self, parameter: nn.Parameter) -> Tensor:
        """A weight as the optimizer has it: its master copy, if there is one."""
        return self.masters.get(parameter, parameter.detach())

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight once, under its checkpoint name; tied weights under their first name; adapters merged."""
        if self.adapters is not None:
            yield from self.adapters.named_weights()
            return
        for name, parameter in self.model.named_parameters():
            yield name, self.exact(parameter)

    def save(self, directory: Path) -> None:
        """Write the model and its tokenizer in transformers format, weights as safetensors; or just the adapters."""
        if self.adapters is not None:
            self.adapters.save(directory)
            return
        exact = {name: self.exact(weight) for name, weight in self.model.named_parameters() if weight in self.masters}
        self.model.save_pretrained(directory, **({"state_dict": self.model.state_dict() | exact} if exact else {}))
        self.tokenizer.save_pretrained(directory)


def place(model: Any, device: torch.device) -> None:
    """Move the language model to the device. A tower for images, which text does not pass, stays in the host's memory."""
    model.get_decoder().to(device)
    model.get_output_embeddings().to(device)
