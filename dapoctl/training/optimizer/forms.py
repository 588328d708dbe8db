"""How the moments of an optimizer are kept between two updates.

Shapes: a moment has its parameter's, n numbers; `part` is a slice of these, in the order of memory, that begins at a multiple
of `BLOCK`.
"""

# ruff: noqa: ARG002 (each form ignores what only others need)
from __future__ import annotations

import functools
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from dapoctl.models.rounding import rounded_at_random

BLOCK = 256
"""Numbers that share a scale"""
SMALL = 4096
"""Parameters of fewer numbers, such as norms, are not worth 8 bits"""
SCALE = "_scale"


class Form(Protocol):
    """A moment is a few tensors, by what follows its name in the optimizer's state: `""` is the moment itself."""

    parts: ClassVar[tuple[str, ...]]

    def zeros(self, parameter: Tensor, signed: bool) -> dict[str, Tensor]:
        """A moment of a parameter before the first update."""

    def widen(self, kept: dict[str, Tensor], part: slice, device: torch.device, *, signed: bool) -> Tensor:
        """`part` of a moment in float32 on the device; changing it does not change what is kept."""

    def keep(
        self, kept: dict[str, Tensor], part: slice, values: Tensor, generator: torch.Generator, *, signed: bool
    ) -> None:
        """Keep `values` as `part` of a moment."""


class Float32:
    """As torch keeps them."""

    parts: ClassVar[tuple[str, ...]] = ("",)
    dtype: ClassVar[torch.dtype] = torch.float32

    def zeros(self, parameter: Tensor, signed: bool) -> dict[str, Tensor]:
        return {"": torch.zeros_like(parameter, dtype=self.dtype, memory_format=torch.contiguous_format)}

    def widen(self, kept: dict[str, Tensor], part: slice, device: torch.device, *, signed: bool) -> Tensor:
        return kept[""].view(-1)[part].to(torch.float32, copy=True)

    def keep(
        self, kept: dict[str, Tensor], part: slice, values: Tensor, generator: torch.Generator, *, signed: bool
    ) -> None:
        kept[""].view(-1)[part] = values


class Bfloat16(Float32):
    """Half of the memory. Rounded up or down at random, so that the mean is right: to the nearest, the mean of squares would
    stand still, since an update changes it by one in a thousand (beta2) and bfloat16 has eight bits.
    """

    dtype: ClassVar[torch.dtype] = torch.bfloat16

    def keep(
        self, kept: dict[str, Tensor], part: slice, values: Tensor, generator: torch.Generator, *, signed: bool
    ) -> None:
        super().keep(kept, part, rounded_at_random(values, self.dtype, generator), generator, signed=signed)


class EightBit:
    """A quarter of the memory: each number is one of 256, times its block's largest (Dettmers et al. 2022, arXiv:2110.02861).

    Of mean squares the roots are kept. A square that is a millionth of its block's largest would become 0, and with it the
    denominator of an update whose numerator, a thousandth, does not.
    """

    parts: ClassVar[tuple[str, ...]] = ("", SCALE)

    def zeros(self, parameter: Tensor, signed: bool) -> dict[str, Tensor]:
        if parameter.numel() < SMALL:
            return Float32().zeros(parameter, signed)
        nothing = int(dynamic_map(signed).eq(0).nonzero())
        blocks = -(-parameter.numel() // BLOCK)
        codes = torch.full(tuple(parameter.shape), nothing, dtype=torch.uint8, device=parameter.device)
        return {"": codes, SCALE: torch.zeros(blocks, device=parameter.device)}

    def widen(self, kept: dict[str, Tensor], part: slice, device: torch.device, *, signed: bool) -> Tensor:
        codes = kept[""].view(-1)[part]
        if SCALE not in kept:
            return codes.clone()
        scales = kept[SCALE][_blocks(part)].repeat_interleave(BLOCK)[: len(codes)]
        values = dynamic_map(signed).to(device)[codes.int()].mul_(scales)
        return values if signed else values.square_()

    def keep(
        self, kept: dict[str, Tensor], part: slice, values: Tensor, generator: torch.Generator, *, signed: bool
    ) -> None:
        codes = kept[""].view(-1)[part]
        if SCALE not in kept:
            codes.copy_(values)
            return
        values = values if signed else values.sqrt()
        whole = torch.nn.functional.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
        scales = whole.abs().amax(1)
        unit = whole.div(scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).flatten()[: len(values)]
        known = dynamic_map(signed).to(values.device)
        codes.copy_(torch.bucketize(unit, (known[1:] + known[:-1]) / 2, out_int32=True))
        kept[SCALE][_blocks(part)] = scales


class OnHost:
    """In the memory of the host, from which they come to the device and back at each update: exact, and none on the device."""

    parts: ClassVar[tuple[str, ...]] = ("",)

    def zeros(self, parameter: Tensor, signed: bool) -> dict[str, Tensor]:
        return {"": torch.zeros(tuple(parameter.shape), pin_memory=parameter.device.type == "cuda")}

    def widen(self, kept: dict[str, Tensor], part: slice, device: torch.device, *, signed: bool) -> Tensor:
        return kept[""].view(-1)[part].to(device, non_blocking=True, copy=True)

    def keep(
        self, kept: dict[str, Tensor], part: slice, values: Tensor, generator: torch.Generator, *, signed: bool
    ) -> None:
        kept[""].view(-1)[part].copy_(values, non_blocking=True)


FORMS: dict[str, Form] = {"float32": Float32(), "bfloat16": Bfloat16(), "8bit": EightBit(), "offload": OnHost()}
"""By their names in `optim.states`"""


@functools.cache
def dynamic_map(signed: bool) -> Tensor:
    """[256] the numbers of the dynamic 8-bit type, ascending: 0, 1, and in each of seven decades below 1 the middles of
    equal parts of [0.1, 1], twice as many parts in each larger decade (arXiv:1511.04561; arXiv:2110.02861, section 2).
    """
    numbers = [0.0, 1.0]
    for decade in range(7):
        ends = torch.linspace(0.1, 1, 2 ** (decade if signed else decade + 1) + 1, dtype=torch.float64)
        middles = ((ends[:-1] + ends[1:]) / 2 * 10.0 ** (decade - 6)).tolist()
        numbers += middles + ([-middle for middle in middles] if signed else [])
    return torch.tensor(sorted(numbers), dtype=torch.float32)


def _blocks(part: slice) -> slice:
    return slice(part.start // BLOCK, -(-part.stop // BLOCK))
