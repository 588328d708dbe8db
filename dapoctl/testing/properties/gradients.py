"""Properties of the gradient, and of what a loss declares about itself.

Shapes: N tokens of a micro-batch.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from dapoctl.components.pipeline import Pipeline
from dapoctl.testing.cases import Arguments, TokenCase
from dapoctl.testing.properties.invariance import pick
from dapoctl.testing.results import Broken
from dapoctl.testing.subject import BATCH_HOOKS, Subject, call
from dapoctl.testing.values import close, show

OPTIONAL = ("ref_logprobs", "entropy")
"""The names that `uses` may contain"""


def gradient(subject: Subject, hook: str) -> str:
    """Losses and penalties are differentiable, with a finite gradient; results of batch hooks carry none."""
    if hook in BATCH_HOOKS:
        return _carries_none(subject, hook)
    graph = flows = nonzero = False
    for case in subject.cases(hook):
        arguments = case.arguments(torch.float64)
        leaves = _leaves(arguments)
        with subject.opened() as pipeline:
            result = call(pipeline, hook, arguments, case)
        nonzero = nonzero or bool(result.any())
        if not result.requires_grad:
            continue
        graph = True
        grads = torch.autograd.grad(result.sum(), [*leaves.values()], allow_unused=True, materialize_grads=True)
        for name, grad in zip(leaves, grads, strict=True):
            if not bool(torch.isfinite(grad).all()):
                fix = (
                    "Keep what has no finite derivative out of the graph: clamp before exp, log, sqrt and division;"
                    " `where` alone does not help."
                )
                raise Broken(case, f"gradient for {name} is {show(grad)}", fix)
        flows = flows or any(bool(grad.any()) for grad in grads)
    # With a coefficient of 0 there is a graph but no gradient flows.
    if not flows and (nonzero or not graph):
        names = " and ".join(_leaves(subject.cases(hook)[0].arguments(torch.float64)))
        raise Broken(subject.cases(hook)[0], f"no gradient for {names}, here or in any other case")
    return ""


def _carries_none(subject: Subject, hook: str) -> str:
    for case in subject.cases(hook):
        if subject.call(hook, case).requires_grad:
            fix = (
                "Return `.detach()`: the step takes the gradient of losses alone, micro-batch by micro-batch, and a graph"
                " behind this would be walked again in each."
            )
            raise Broken(case, "the result requires a gradient", fix)
    return ""


def _leaves(arguments: Arguments) -> dict[str, Tensor]:
    """The inputs that a gradient may flow to, set to require one."""
    if "logits" in arguments:
        return {"logits": arguments["logits"].requires_grad_()}
    tokens = arguments["tokens"]
    return {"logprobs": tokens.logprobs.requires_grad_(), "entropy": tokens.optional["entropy"].requires_grad_()}


class RecordingDict(dict[str, Any]):
    """A dict that records which of its keys were looked up."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.seen: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """See `dict.get`."""
        self.seen.add(key)
        return super().get(key, default)


def uses(subject: Subject, hook: str) -> str:
    """The costly parts of `Tokens` that are read are declared."""
    for name in sorted({*subject.cls.uses} - {*OPTIONAL}):
        fix = f"`uses` may name {' and '.join(OPTIONAL)}."
        raise Broken(f"class {subject.cls.__name__}", f"`uses` names `{name}`, which does not exist", fix)
    seen: set[str] = set()
    with subject.opened() as pipeline:
        # As the step asks, so that it is also right where the answer depends on parameters.
        declared = {name for name in OPTIONAL if pipeline.uses(name)}
        for case in subject.cases(hook):
            tokens = case.arguments(torch.float64)["tokens"]
            watched = RecordingDict(tokens.optional)
            call(pipeline, hook, {"tokens": dataclasses.replace(tokens, optional=watched)}, case)
            for name in sorted(watched.seen - declared):
                names = ", ".join(f'"{declared_name}"' for declared_name in sorted(declared | {name}))
                fix = f"Add `uses: ClassVar[frozenset[str]] = frozenset({{{names}}})` to the class: no other part is computed."
                raise Broken(case, f"reads `tokens.{name}`, which `uses` does not name", fix)
            seen |= watched.seen
    idle = sorted(declared - seen)
    return f"declares {', '.join(idle)}, which it does not read with these parameters" if idle else ""


def per_token(subject: Subject, hook: str) -> str:
    """A component that declares to look at each token alone returns the same for slices of a sequence."""
    with subject.opened() as pipeline:
        declared = pipeline.per_token()
    try:
        for case in subject.cases(hook):
            plain = subject.call(hook, case)
            with subject.opened() as pipeline:
                sliced = _sliced(pipeline, hook, case)
            if not close(sliced, plain):
                raise Broken(case, f"whole {show(plain)}; one token at a time {show(sliced)}")
    except Broken:
        if declared:
            raise
        return "not declared, rightly"
    return "" if declared else "it could declare `per_token = True`, which saves computing the logits twice"


def _sliced(pipeline: Pipeline, hook: str, case: Any) -> Tensor:
    assert isinstance(case, TokenCase)
    tokens = case.tokens(torch.float64)
    parts = [pick(tokens, torch.tensor([index]), complete=False) for index in range(len(tokens.logprobs))]
    return torch.cat([call(pipeline, hook, {"tokens": part}, f"one token of {case}") for part in parts])
