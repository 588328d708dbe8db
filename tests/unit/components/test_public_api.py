"""What is promised to the authors of components, spelled out: a change here is a change of the promise.

`plugins/WRITING.md`, "What stays stable", says which changes are allowed: fields with defaults at the end, hooks, and arguments
of hooks may be added; nothing may be taken away, renamed, or change its meaning, without a deprecation. Each change is listed
in the changelog under "Plugin API".
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

import dapoctl
from dapoctl import (
    Batch,
    Completion,
    Component,
    Counts,
    Engine,
    Problem,
    PromptPool,
    Recipe,
    Refill,
    RunInfo,
    Sampling,
    Score,
    Tokens,
    hookspecs,
    testing,
)
from dapoctl.components import catalog
from dapoctl.config import RunConfig


def signature(function: Callable[..., Any]) -> str:
    """The signature as it is written, types as in the source."""
    return str(inspect.signature(function)).replace("'", "")


def fields(cls: Any) -> dict[str, str]:
    """`name: type`, with `= default`, or `= ...` for a default that is made anew, of every field of a dataclass."""
    found = {}
    for field in dataclasses.fields(cls):
        default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
        default = default if field.default_factory is dataclasses.MISSING else " = ..."
        found[field.name] = f"{field.type}{default}"
    return found


def test_names() -> None:
    assert dapoctl.__all__ == [
        "Batch",
        "Completion",
        "Component",
        "Counts",
        "DapoctlError",
        "Engine",
        "PluginError",
        "Problem",
        "PromptPool",
        "Recipe",
        "Refill",
        "RunInfo",
        "RunWarning",
        "Sampling",
        "Score",
        "Tokens",
        "UserError",
        "hookimpl",
    ]


def test_entry_point_groups() -> None:
    assert (catalog.COMPONENTS, catalog.RECIPES) == ("dapoctl.plugins", "dapoctl.recipes")


def test_errors() -> None:
    assert issubclass(dapoctl.UserError, dapoctl.DapoctlError)
    assert issubclass(dapoctl.PluginError, dapoctl.UserError)
    assert issubclass(dapoctl.RunWarning, UserWarning)
    assert (dapoctl.DapoctlError("").exit_code, dapoctl.UserError("").exit_code) == (1, 2)


def test_hooks() -> None:
    """Each with its arguments and result; `one` takes exactly one provider, `any` any number."""
    found = {
        name: ("one" if hookspecs.is_exclusive(name) else "any", signature(hook))
        for name, hook in hookspecs.stages().items()
    }
    assert found == {
        "load_problems": ("one", "(split: str) -> Sequence[Problem]"),
        "build_engine": ("one", "(policy: Policy, config: RunConfig) -> Engine"),
        "select_prompts": ("one", "(pool: PromptPool, count: int) -> Sequence[int]"),
        "score_response": ("one", "(problem: Problem, text: str) -> Score"),
        "shape_rewards": ("any", "(batch: Batch) -> Tensor"),
        "filter_groups": ("any", "(batch: Batch) -> Tensor"),
        "plan_refill": ("any", "() -> Refill"),
        "estimate_advantages": ("one", "(batch: Batch) -> Tensor"),
        "mask_responses": ("any", "(batch: Batch) -> Tensor"),
        "weigh_tokens": ("one", "(batch: Batch) -> Tensor"),
        "policy_loss": ("one", "(tokens: Tokens) -> Tensor"),
        "regularize": ("any", "(tokens: Tokens) -> Tensor"),
        "regularize_vocab": ("any", "(logits: Tensor, ref_logits: Tensor) -> Tensor"),
        "on_run_start": ("any", "(run: RunInfo) -> None"),
        "on_step_end": ("any", "(step: int, metrics: dict[str, float]) -> None"),
        "on_run_end": ("any", "(run: RunInfo, state: str) -> None"),
    }


DATA: list[tuple[Any, dict[str, str]]] = [
    (
        Batch,
        {
            "problems": "list[Problem]",
            "prompt_ids": "list[list[int]]",
            "groups": "Tensor",
            "texts": "list[str]",
            "response_ids": "Tensor",
            "mask": "Tensor",
            "rollout_logprobs": "Tensor",
            "scores": "Tensor",
            "correct": "Tensor",
            "rewards": "Tensor",
            "lengths": "Tensor",
            "truncated": "Tensor",
            "verdicts": "list[Score]",
            "born": "list[int]",
            "max_response_tokens": "int",
            "step": "int",
            "counts": "Counts",
            "notes": "list[dict[str, Any]] = ...",
            "terms": "dict[str, Tensor] = ...",
            "advantages": "Tensor | None = None",
            "old_logprobs": "Tensor | None = None",
        },
    ),
    (Counts, {"responses": "int", "tokens": "int", "groups": "int"}),
    (
        Tokens,
        {
            "logprobs": "Tensor",
            "old_logprobs": "Tensor",
            "rollout_logprobs": "Tensor",
            "advantages": "Tensor",
            "sequence": "Tensor",
            "sequences": "int",
            "complete": "bool = True",
            "optional": "dict[str, Tensor] = ...",
        },
    ),
    (Problem, {"id": "str", "prompt": "str", "answer": "str", "meta": "Mapping[str, Any] = ..."}),
    (
        Score,
        {
            "value": "float",
            "correct": "bool",
            "extracted": "str | None = None",
            "outcome": "Outcome = 'wrong'",
            "marked": "bool | None = None",
        },
    ),
    (
        PromptPool,
        {
            "problems": "Sequence[Problem]",
            "attempts": "NDArray[np.int64]",
            "solved": "NDArray[np.int64]",
            "last_step": "NDArray[np.int64]",
            "seed": "int",
            "step": "int",
            "rng": "np.random.Generator",
        },
    ),
    (
        Refill,
        {
            "max_rounds": "int = 10",
            "on_exhausted": "Literal['train_partial', 'skip', 'error'] = 'train_partial'",
            "max_staleness": "int = 0",
        },
    ),
    (
        RunInfo,
        {
            "id": "str",
            "directory": "Path",
            "config": "Mapping[str, Any]",
            "components": "Sequence[str]",
            "steps": "int",
            "start_step": "int = 0",
        },
    ),
    (
        Sampling,
        {
            "max_tokens": "int",
            "temperature": "float = 1.0",
            "top_p": "float = 1.0",
            "seed": "int = 0",
            "seeds": "Sequence[int] = ()",
        },
    ),
    (
        Completion,
        {"token_ids": "Sequence[int]", "logprobs": "Sequence[float]", "finish_reason": "Literal['stop', 'length']"},
    ),
    (
        Recipe,
        {
            "purpose": "str",
            "components": "tuple[str, ...]",
            "base": "str | None = None",
            "paper": "str = ''",
            "corrections": "tuple[str, ...] = ()",
        },
    ),
]


@pytest.mark.parametrize(("cls", "expected"), DATA, ids=[cls.__name__ for cls, _ in DATA])
def test_fields(cls: Any, expected: dict[str, str]) -> None:
    assert fields(cls) == expected
    assert list(fields(cls)) == list(expected), "in this order"


def public_methods(cls: Any) -> dict[str, str]:
    """The signature of every public method that the class defines, or `property`; pydantic's own left out."""
    return {
        name: "property" if isinstance(member, property) else signature(member)
        for name, member in vars(cls).items()
        if not name.startswith(("_", "model_")) and (isinstance(member, property) or inspect.isfunction(member))
    }


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (
            Batch,
            {
                "group_sum": "(self, values: Tensor) -> Tensor",
                "group_sizes": "(self) -> Tensor",
                "group_mean": "(self, values: Tensor) -> Tensor",
            },
        ),
        (
            Tokens,
            {
                "ref_logprobs": "property",
                "entropy": "property",
                "sequence_mean": "(self, values: Tensor) -> Tensor",
                "sequence_sum": "(self, values: Tensor) -> Tensor",
            },
        ),
        (PromptPool, {}),
        (
            Engine,
            {
                "generate": "(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int)"
                " -> list[list[Completion]]",
                "load_weights": "(self, weights: Iterable[tuple[str, Tensor]]) -> None",
                "sleep": "(self) -> None",
                "wake": "(self) -> None",
                "close": "(self) -> None",
            },
        ),
        (
            Component,
            {
                "name": "property",
                "log": "(self, name: str, values: Tensor | float) -> None",
                "attach": "(self, name: str, sink: Sink | None = None) -> None",
                "check_run": "(self, config: RunConfig) -> None",
                "cannot_act": "(self, config: RunConfig) -> str",
                "cannot_act_on": "(self, config: RunConfig, problems: int) -> str",
                "did_not_act": "(self, metrics: Mapping[str, Sequence[float]]) -> str",
                "check_data": "(self, split: str) -> None",
                "judges": "(self) -> Mapping[str, Callable[[Problem, str], bool]]",
                "data_files": "(self) -> list[str]",
                "state_dict": "(self) -> dict[str, Any]",
                "load_state_dict": "(self, state: dict[str, Any]) -> None",
                "close": "(self) -> None",
                "is_per_token": "(self) -> bool",
                "token_parts": "(self) -> frozenset[str]",
            },
        ),
    ],
)
def test_methods(cls: Any, expected: dict[str, str]) -> None:
    assert public_methods(cls) == expected


def test_what_a_component_says_of_itself() -> None:
    assert (Component.paper, Component.differs, Component.uses, Component.per_token) == ("", "", frozenset(), False)
    assert Component.model_config["extra"] == "forbid"
    assert set(Component.model_fields) == set()


def test_the_conformance_kit() -> None:
    """Its three names; options may be added."""
    assert {"check_component", "make_batch", "make_tokens"} <= set(testing.__all__)
    expected = {
        "check_component": (1, ["name"]),
        "make_batch": (
            1,
            ["lengths", "correct", "truncated", "dropped", "padding", "max_response_tokens", "dtype"],
        ),
        "make_tokens": (3, ["rollout_logprobs", "sequence"]),
    }
    for name, (positional, keywords) in expected.items():
        parameters = inspect.signature(getattr(testing, name)).parameters.values()
        places = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
        assert len(places) == positional, name
        assert places[0].default is inspect.Parameter.empty, name
        assert all(item.default is not inspect.Parameter.empty for item in places[1:]), name
        assert {item.name for item in parameters if item.kind == item.KEYWORD_ONLY} >= set(keywords), name


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key that `--set` takes, tables as `table.key`."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        is_table = inspect.isclass(inner) and issubclass(inner, BaseModel)
        found += keys(inner, f"{prefix}{name}.") if is_table else [f"{prefix}{name}"]
    return found


def test_configuration_keys() -> None:
    """What `check_run` and `build_engine` can read of a run."""
    expected = """
        name recipe plugins seed steps task engine
        model.path model.dtype model.template model.trust_remote_code
        lora.rank lora.alpha lora.targets
        rollout.prompts rollout.samples rollout.max_prompt_tokens rollout.max_response_tokens rollout.temperature rollout.top_p
        optim.lr optim.warmup_steps optim.weight_decay optim.beta1 optim.beta2 optim.grad_clip optim.states
        optim.master_weights optim.updates
        train.device train.threads train.micro_batch_tokens train.packing train.chunk_tokens train.gradient_checkpointing
        train.offload_activations train.offload_weights
        eval.every eval.set eval.k eval.limit eval.temperature eval.top_p eval.scorer eval.decontaminate
        checkpoint.every checkpoint.keep checkpoint.keep_best checkpoint.select_on
        stop_at.generated_tokens stop_at.hours
        components
    """
    assert keys(RunConfig) == expected.split()
