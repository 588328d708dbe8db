"""The output projection: from hidden states to logits, and the gradient back.

Shapes: n tokens of a chunk, D hidden size, V vocabulary entries.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@functools.cache
def _multiplies_to_float32(device: torch.device, dtype: torch.dtype, out: torch.dtype) -> bool:
    """Whether a product of two matrices in `dtype` can be written as float32, which not every device and release can."""
    if device.type != "cuda" or dtype == out or out != torch.float32:
        return False
    try:
        one = torch.ones(16, 16, device=device, dtype=dtype)
        # A sum that bfloat16 does not have.
        one[0, 0] = 1 + 2**-7
        into = torch.empty(16, 16, device=device)
        return float(torch.mm(one, one.T, out_dtype=out, out=into)[0, 1]) == 16 + 2**-7
    except (RuntimeError, TypeError):
        return False


@dataclass
class Head:
    """The output projection, the soft cap that some models put on logits, and the sampling temperature."""

    linear: nn.Linear
    softcap: float | None
    temperature: float
    compute_dtype: torch.dtype

    _cast: Tensor | None = None

    @property
    def vocabulary(self) -> int:
        """V"""
        return int(self.linear.weight.shape[0])

    @contextlib.contextmanager
    def cast(self) -> Iterator[None]:
        """Inside, the weight is converted to the compute type once and not at every call."""
        self._cast = self.linear.weight.to(self.compute_dtype)
        try:
            yield
        finally:
            self._cast = None

    def logits(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """Raw float32 logits [n, V], as the model defines them; written into `out` [n, V] if given, without a graph."""
        hidden, weight = hidden.to(self.compute_dtype), self._weight()
        bias = None if self.linear.bias is None else self.linear.bias.to(self.compute_dtype)
        if out is not None and bias is None and _multiplies_to_float32(hidden.device, hidden.dtype, out.dtype):
            # Products in bfloat16 come in steps: near 30, of an eighth.
            logits = torch.mm(hidden, weight.T, out_dtype=out.dtype, out=out)
        elif out is None or bias is not None or out.dtype != self.compute_dtype:
            logits = nn.functional.linear(hidden, weight, bias)
            # Log-probabilities are float32 at least, whatever the layers compute in.
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) if out is None else out.copy_(logits)
        else:
            logits = torch.mm(hidden, weight.T, out=out)
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def slope(self, logits: Tensor) -> Tensor | None:
        """The soft cap's derivative [n, V] at its outputs `logits`; None without a cap."""
        return None if self.softcap is None else 1 - (logits / self.softcap).square()

    def _weight(self) -> Tensor:
        return self.linear.weight.to(self.compute_dtype) if self._cast is None else self._cast

    def backward(self, hidden: Tensor, grad: Tensor) -> Tensor:
        """The gradient for hidden [n, D] from `grad` [n, V], that of the logits before any cap; the weight's is added to
        its `.grad`."""
        grad = grad.to(self.compute_dtype)
        weight: Tensor = self.linear.weight
        if weight.requires_grad:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            source = hidden.to(self.compute_dtype)
            if weight.dtype == self.compute_dtype:
                weight.grad.addmm_(grad.T, source)
            else:
                weight.grad += grad.T @ source
        if self.linear.bias is not None and self.linear.bias.requires_grad:
            bias = self.linear.bias
            bias.grad = grad.sum(0, dtype=bias.dtype) + (0 if bias.grad is None else bias.grad)
        return (grad @ self._weight()).to(hidden.dtype)
