"""Whether a component makes its tensors where its inputs are.

Losses and penalties get tensors of the policy's device; batches always lie on the CPU. Without a CUDA device, torch's meta
device stands in: its tensors have a shape, a type and no values, and most operations refuse to mix them with others.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from dapoctl.testing.cases import Arguments, Case
from dapoctl.testing.results import Broken, Unchecked
from dapoctl.testing.subject import Subject, call

MIXED = ("same device", "two devices", "not on the expected device", "device type tensor to numpy")
"""What torch says of tensors that lie elsewhere than an operation wants them"""


def device(subject: Subject, hook: str) -> str:
    """The result is on the inputs' device."""
    where = "cuda" if torch.cuda.is_available() else "meta"
    for case in subject.cases(hook):
        _check(subject, hook, case, where)
    return "" if where == "cuda" else "on torch's meta device, as there is no CUDA device here"


def _check(subject: Subject, hook: str, case: Case, where: str) -> None:
    arguments = _moved(case.arguments(torch.float32), where)
    named = f"{case}; all on the device {where}"
    with subject.opened() as pipeline:
        # What is logged is averaged to a number, which a meta tensor does not have.
        pipeline.attach(None)
        try:
            found = call(pipeline, hook, arguments, named).device
        except Broken as broken:
            if where == "meta" and not any(words in broken.found for words in MIXED):
                raise Unchecked("it looks at values, and there is no CUDA device here") from broken
            raise
    if found.type != where:
        raise Broken(named, f"the result is on {found}")


def _moved(arguments: Arguments, where: str) -> Arguments:
    if "tokens" not in arguments:
        return {name: values.to(where) for name, values in arguments.items()}
    tokens = arguments["tokens"]
    fields = {field.name: getattr(tokens, field.name) for field in dataclasses.fields(tokens)}
    moved = {name: values.to(where) for name, values in fields.items() if isinstance(values, Tensor)}
    optional = {name: values.to(where) for name, values in tokens.optional.items()}
    return {"tokens": dataclasses.replace(tokens, **moved, optional=optional)}
