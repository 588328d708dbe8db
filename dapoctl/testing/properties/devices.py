"""Whether a component creates its tensors on its inputs' device.

Losses and penalties get tensors of the policy's device; batches are always on the CPU. Without a CUDA device, torch's meta
device is used instead: its tensors have a shape and a type but no values, and most operations refuse to mix them with others.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from dapoctl.testing.cases import Arguments, Case
from dapoctl.testing.results import Broken, Unchecked
from dapoctl.testing.subject import Subject, call

MIXED = ("same device", "two devices", "not on the expected device", "device type tensor to numpy")
"""What torch's messages say of tensors on the wrong device"""


def device(subject: Subject, hook: str) -> str:
    """The result is on the inputs' device."""
    where = "cuda" if torch.cuda.is_available() else "meta"
    for case in subject.cases(hook):
        _check(subject, hook, case, where)
    return "" if where == "cuda" else "on torch's meta device, since there is no CUDA device here"


def _check(subject: Subject, hook: str, case: Case, device_name: str) -> None:
    arguments = _moved(case.arguments(torch.float32), device_name)
    described = f"{case}; all on the device {device_name}"
    with subject.opened() as pipeline:
        # Logged values are averaged to a number, which a meta tensor does not have.
        pipeline.attach(None)
        try:
            result_device = call(pipeline, hook, arguments, described).device
        except Broken as broken:
            if device_name == "meta" and not any(phrase in broken.found for phrase in MIXED):
                raise Unchecked("it looks at values, and there is no CUDA device here") from broken
            raise
    if result_device.type != device_name:
        raise Broken(described, f"the result is on {result_device}")


def _moved(arguments: Arguments, device_name: str) -> Arguments:
    if "tokens" not in arguments:
        return {name: values.to(device_name) for name, values in arguments.items()}
    tokens = arguments["tokens"]
    fields = {field.name: getattr(tokens, field.name) for field in dataclasses.fields(tokens)}
    moved = {name: values.to(device_name) for name, values in fields.items() if isinstance(values, Tensor)}
    optional = {name: values.to(device_name) for name, values in tokens.optional.items()}
    return {"tokens": dataclasses.replace(tokens, **moved, optional=optional)}
