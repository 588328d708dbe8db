"""The output projection: from hidden states to logits, and the gradient back.

Shapes: n tokens of a chunk, D hidden size, V vocabulary entries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
        if out is None or bias is not None or out.dtype != self.compute_dtype:
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
