"""What a GPU need not hold all the time, kept in the host's memory: the weights while an engine with weights of its own
samples, and activations between the forward and the backward pass. Results are the same to the bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dapoctl.models.policy import place

if TYPE_CHECKING:
    from dapoctl.models.policy import Policy
    from dapoctl.training.learner import Learner

LEAST = 2**16
"""Numbers of a tensor that is worth the way"""


@contextlib.contextmanager
def weights_on_device(learner: Learner) -> Iterator[None]:
    """The block in which weights are updated; outside of it they are in the host's memory (`train.offload_weights`)."""
    if not learner.config.train.offload_weights:
        yield
        return
    policies = [policy for policy in (learner.policy, learner.reference) if policy is not None]
    for policy in policies:
        place(policy.model, policy.device)
    yield
    for policy in policies:
        park(policy)


def park(policy: Policy) -> None:
    """Move the weights to the host's memory."""
    place(policy.model, torch.device("cpu"))
    if policy.device.type == "cuda":
        # An engine's memory is not torch's: it can have only what is given back.
        torch.cuda.empty_cache()


def activations_on_host(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The forward pass whose saved tensors wait in the host's memory for the backward pass (`train.offload_activations`).

    With gradient checkpointing these are the inputs of layers: for each of them 4 bytes a token and hidden number.
    """

    def pack(tensor: Tensor) -> Tensor | tuple[Tensor]:
        if isinstance(tensor, nn.Parameter) or tensor.numel() < LEAST or tensor.device.type != device.type:
            return tensor
        # Copies are ordered by the stream, so neither way is waited for.
        host = torch.empty_like(tensor, device="cpu", pin_memory=device.type == "cuda")
        return (host.copy_(tensor, non_blocking=True),)

    def unpack(packed: Tensor | tuple[Tensor]) -> Tensor:
        return packed[0].to(device, non_blocking=True) if isinstance(packed, tuple) else packed

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
