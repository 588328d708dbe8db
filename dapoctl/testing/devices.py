"""Whether a component makes its tensors where its inputs are.

Losses and penalties get tensors of the policy's device; batches always lie on the CPU. Without a CUDA device, torch's fake
tensors stand in: they have a device, a shape and a type and no values, and complain of mixed devices as real ones do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from dapoctl.components.pipeline import Pipeline
from dapoctl.testing.cases import Arguments, Case
from dapoctl.testing.results import Broken, Unchecked
from dapoctl.testing.subject import Subject, call

TWO_DEVICES = ("same device", "two devices", "two different devices")
"""What torch says of an operation on tensors of several devices"""


def device(subject: Subject, hook: str) -> str:
    """The result is on the inputs' device."""
    case = subject.cases(hook)[-1]
    arguments = case.arguments(torch.float32)
    with subject.opened() as pipeline:
        # What is logged is averaged to a number, which a fake tensor does not have.
        pipeline.attach(None)
        if torch.cuda.is_available():
            _on_cuda(pipeline, hook, _mapped(arguments, lambda values: values.to("cuda")), case)
            return ""
        try:
            # Inference mode: no graph may be built on a device that torch was not compiled for.
            with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
                _on_cuda(pipeline, hook, _mapped(arguments, _fake), case)
        except Broken as broken:
            if any(words in broken.found for words in TWO_DEVICES) or broken.__cause__ is None:
                raise
            reason = " ".join(broken.found.split())[:160]
            raise Unchecked(f"no CUDA device here, and a fake one cannot tell: {reason}") from broken
    return "on torch's fake CUDA device: this machine has none"


def _on_cuda(pipeline: Pipeline, hook: str, arguments: Arguments, case: Case) -> None:
    found = call(pipeline, hook, arguments, case)
    if found.device.type != "cuda":
        raise Broken(case, f"inputs on cuda, the result on {found.device}")


def _fake(values: Tensor) -> Tensor:
    return torch.empty(values.shape, dtype=values.dtype, device="cuda")


def _mapped(arguments: Arguments, change: Callable[[Tensor], Tensor]) -> Arguments:
    if "tokens" not in arguments:
        return {name: change(values) for name, values in arguments.items()}
    tokens = arguments["tokens"]
    fields = {field.name: getattr(tokens, field.name) for field in dataclasses.fields(tokens)}
    moved = {name: change(values) for name, values in fields.items() if isinstance(values, Tensor)}
    optional = {name: change(values) for name, values in tokens.optional.items()}
    return {"tokens": dataclasses.replace(tokens, **moved, optional=optional)}
