"""The conformance kit: what holds passes, and what is broken fails for the right reason.

Slow: the real vLLM, held to everything that an engine must be.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Generator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from dapoctl import Batch, Component, DapoctlError, Engine, Tokens, UserError, hookimpl
from dapoctl.hookspecs import stages
from dapoctl.testing import ConformanceError, Result, check_component, examine, make_tokens
from dapoctl.testing.minimal_components import BY_HOOK, MINIMAL
from dapoctl.testing.properties.registry import PROPERTIES
from dapoctl.testing.properties.training import step
from dapoctl.testing.subject import Subject
from tests.support.wrong_components import WRONG, FloatMask, NoDefault, NoEpsilon
from tests.support.wrong_engines import BestOfTwo, KeepsOldWeights, NoEngine
from tests.support.wrong_losses import TopFifth

VLLM = [pytest.mark.slow, pytest.mark.xdist_group("vllm")]
POINTS = {point.name: point for point in metadata.entry_points(group="dapoctl.plugins")}
WRONG_PAIRS = [(name, cls) for name, classes in WRONG.items() for cls in classes]


def failed(cls: type[Component], **parameters: Any) -> list[str]:
    return [result.name for result in examine(cls, parameters=parameters) if result.status == "failed"]


def by_name(cls: type[Component], name: str = "", **options: Any) -> dict[str, Result]:
    return {result.name: result for result in examine(cls, name, **options)}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=VLLM) if name == "vllm" else name for name in sorted(POINTS)]
)
def test_every_installed_component_holds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Trackers that are installed write here and send nothing.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    check_component(POINTS[name].load(), name=name)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("grpo", {"scale": "batch"}),
        ("clip_higher", {"dual_clip": 3.0}),
        ("kl", {"estimator": "k1"}),
        ("kl", {"coef": 0.0}),
        ("kl_full", {"direction": "forward"}),
        ("gkl", {"prior": "ema"}),
        ("overlong", {"buffer": 4}),
    ],
)
def test_shipped_components_hold_with_other_parameters(name: str, parameters: dict[str, Any]) -> None:
    check_component(POINTS[name].load(), name=name, **parameters)


def test_a_documented_coupling_of_tokens_is_found() -> None:
    """`norm = "batch"` says of itself that the gradient depends on the cut."""
    assert failed(POINTS["gkl"].load(), norm="batch") == ["cut"]


@pytest.mark.parametrize(("name", "cls"), WRONG_PAIRS, ids=[cls.__name__ for _, cls in WRONG_PAIRS])
def test_a_wrong_component_fails_for_the_right_reason(name: str, cls: type[Component]) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_component(cls, name="mine")
    assert [result.name for result in caught.value.failed] == [name]
    first, _, title, *lines = str(caught.value).splitlines()
    assert re.fullmatch(r"`mine` breaks 1 of \d+ properties", first)
    assert title.startswith(f"{name}: ")
    rows = [re.fullmatch(r"  (hook|case|found|fix) +(\S.*)", line) for line in lines]
    found = {row[1]: row[2] for row in rows if row is not None}
    assert {*found} - {"hook"} == {"case", "found", "fix"}
    assert len(rows) == len(found)
    assert found["fix"].endswith(".")


def test_every_property_can_be_broken() -> None:
    assert {*WRONG} == {item.name for item in PROPERTIES}
    assert len(WRONG_PAIRS) > 40


def test_the_smallest_case_is_printed_in_numbers() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_component(NoEpsilon)
    message = str(caught.value)
    assert "hook   estimate_advantages\n" in message
    assert "case   1 group x 1 response, rewards [[1]], lengths [1] of 8\n" in message
    assert "found  1 of 1 values are NaN or infinite: [nan]\n" in message
    (result,) = caught.value.failed
    assert result.failures[0].hook == "estimate_advantages"
    assert isinstance(caught.value, DapoctlError)
    assert isinstance(caught.value, AssertionError)


def test_an_exception_names_component_hook_and_case() -> None:
    (cls,) = (cls for cls in WRONG["result"] if cls.__name__ == "Raises")
    with pytest.raises(ConformanceError, match="rewards \\[\\[1\\]\\]") as caught:
        check_component(cls)
    assert "component `raises`, hook `estimate_advantages` raised ZeroDivisionError: no other response" in str(
        caught.value
    )


def test_parameters_are_taken_and_a_missing_one_is_named() -> None:
    check_component(NoDefault(rate=0.1))
    assert failed(NoDefault, rate=0.1) == []
    with pytest.raises(
        ConformanceError, match=r"`no_default.rate` is missing.*\n.*check_component\(NoDefault, rate=\.\.\.\)"
    ):
        check_component(NoDefault)


def test_what_follows_from_a_failure_is_not_run() -> None:
    results = by_name(FloatMask)
    assert results["dtype"].status == "failed"
    assert results["step"].status == "ok"
    assert results["cut"].status == "not applicable"
    broken = by_name(NoDefault)
    assert [result.status for result in broken.values()][:5] == ["failed", "ok", "ok", "ok", "not run"]
    assert {result.status for result in [*broken.values()][4:]} == {"not run", "not applicable"}
    assert broken["result"].note == "needs `builds` to hold"


def test_what_an_engine_does_is_told_in_numbers() -> None:
    with pytest.raises(ConformanceError, match=r"drawn tokens are \+0\.\d+ from what is expected; by chance 0\.0"):
        check_component(BestOfTwo)
    with pytest.raises(
        ConformanceError, match=r"sleep, an update, load_weights.*\n.*prompt 0, token \d of .* the model says"
    ):
        check_component(KeepsOldWeights)
    results = by_name(NoEngine)
    assert "returned Policy, which has no `generate`, `load_weights`" in results["completions"].failures[0].found
    assert {results[name].status for name in ("logprobs", "seeds", "weights")} == {"not run"}
    assert "completions" not in by_name(NoEngine, step=False)


@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (`make vllm`)")
def test_the_real_vllm_holds_as_an_engine() -> None:
    results = by_name(POINTS["vllm"].load(), "vllm")
    assert {results[name].status for name in ("completions", "logprobs", "seeds", "weights")} == {"ok"}


def test_an_engine_that_cannot_run_here_is_not_judged() -> None:
    class Elsewhere(Component):
        """An engine for another machine."""

        @hookimpl
        def build_engine(self) -> Engine:
            raise UserError("needs a machine with eight GPUs")

    results = by_name(Elsewhere)
    assert results["completions"].status == "not applicable"
    assert "needs a machine with eight GPUs" in results["completions"].note


def test_hooks_that_a_component_lacks_are_not_tested() -> None:
    (uniform,) = (point.load() for name, point in POINTS.items() if name == "uniform")
    results = by_name(uniform)
    checked = {name for name, result in results.items() if result.status == "ok"}
    assert checked == {"builds", "docstring", "fields", "hooks", "result", "repeatable", "read_only", "state"}


def test_the_step_can_be_left_out() -> None:
    assert "step" not in by_name(FloatMask, step=False)


def test_the_real_step_finds_what_depends_on_the_micro_batch() -> None:
    """Even if no smaller check did."""
    from dapoctl.testing.results import Broken

    with pytest.raises(Broken) as caught:
        step(Subject(TopFifth, "top_fifth", {}), "")
    assert caught.value.case.startswith("a step with `top_fifth`, 1 group x 2 responses, scores [1, -1], lengths [3, ")
    assert "one response per micro-batch" in caught.value.found


def test_per_token_is_suggested_where_it_would_be_true() -> None:
    class Plain(Component):
        """The plain policy gradient."""

        @hookimpl
        def policy_loss(self, tokens: Tokens) -> Tensor:
            return -tokens.advantages * tokens.logprobs

    assert "could declare `per_token = True`" in by_name(Plain, step=False)["per_token"].note


class Annealed(Component):
    """Everything that is honest and unusual at once: state, a seeded generator, several hooks, a wrapper."""

    uses: ClassVar[frozenset[str]] = frozenset({"entropy"})

    rate: float = Field(0.5, ge=0)
    """Size of the noise."""

    _steps: int = PrivateAttr(default=0)

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        generator = torch.Generator().manual_seed(batch.step)
        noise = torch.rand(1, generator=generator).item() * self.rate / (1 + self._steps)
        return noise * batch.lengths / batch.max_response_tokens

    @hookimpl(wrapper=True)
    def estimate_advantages(self) -> Generator[None, Tensor, Tensor]:
        advantages = yield
        return advantages.clamp(-5, 5)

    @hookimpl
    def regularize(self, tokens: Tokens) -> Tensor:
        self.log("entropy", tokens.entropy)
        return -0.01 / (1 + self._steps) * tokens.sequence_mean(tokens.entropy)

    @hookimpl
    def on_step_end(self, step: int) -> None:
        self._steps = step

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "recent": torch.arange(3), "names": ["a"], "nothing": None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]


def test_an_honest_component_with_all_the_trimmings_holds() -> None:
    results = by_name(Annealed)
    assert {result.status for result in results.values()} <= {"ok", "not applicable"}
    assert results["state"].note == ""
    assert "wraps estimate_advantages" in results["hooks"].note


class Explore(Component):
    """Noise for each response from a generator that the step seeds."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return torch.rand(len(batch.texts), generator=torch.Generator().manual_seed(batch.step))


class ExploreInNumpy(Component):
    """The same, by numpy."""

    @hookimpl
    def shape_rewards(self, batch: Batch) -> Tensor:
        return torch.from_numpy(np.random.default_rng(batch.step).random(len(batch.texts)))


@pytest.mark.parametrize("cls", [Explore, ExploreInNumpy])
def test_seeded_noise_for_each_response_is_honest(cls: type[Component]) -> None:
    results = by_name(cls)
    assert {result.status for result in results.values()} <= {"ok", "not applicable"}
    assert results["response_order"].note == "shape_rewards not checked: it draws random numbers, response by response"
    assert results["repeatable"].status == "ok"


class InSinglePrecision(Component):
    """Computes in float32, whatever comes in."""

    uses: ClassVar[frozenset[str]] = frozenset({"ref_logprobs"})

    @hookimpl
    def estimate_advantages(self, batch: Batch) -> Tensor:
        rewards = batch.rewards.float()
        return (rewards - batch.group_mean(rewards)[batch.groups])[:, None] * 0.9 ** torch.arange(batch.mask.shape[1])

    @hookimpl
    def policy_loss(self, tokens: Tokens) -> Tensor:
        ratio = tokens.sequence_mean((tokens.logprobs - tokens.old_logprobs).float()).clamp(-20, 20).exp()
        return -tokens.advantages.float() * ratio + 0.1 * (tokens.logprobs - tokens.ref_logprobs).float().square()

    @hookimpl
    def regularize_vocab(self, logits: Tensor, ref_logits: Tensor) -> Tensor:
        policy, reference = logits.float().log_softmax(-1), ref_logits.float().log_softmax(-1)
        return 0.01 * (policy.exp() * (policy - reference)).sum(-1)


def test_single_precision_is_precise_enough() -> None:
    check_component(InSinglePrecision)


def test_no_global_generator_is_left_changed() -> None:
    before = torch.get_rng_state()
    assert {result.status for result in examine(Annealed)} <= {"ok", "not applicable"}
    assert torch.equal(before, torch.get_rng_state())


def test_every_hook_has_a_minimal_provider() -> None:
    assert {*BY_HOOK} == {*stages()}
    for cls in (each for each in MINIMAL if each is not BY_HOOK["build_engine"]):
        wrong = [result.name for result in examine(cls, step=False) if result.status == "failed"]
        assert wrong == ["docstring"], cls.__name__


def test_make_tokens_counts_its_sequences() -> None:
    tokens = make_tokens(torch.zeros(3), sequence=torch.tensor([0, 1, 1]), rollout_logprobs=torch.ones(3))
    assert tokens.sequences == 2
    assert tokens.sequence_mean(torch.tensor([1.0, 2.0, 4.0])).tolist() == [1.0, 3.0, 3.0]
    assert tokens.rollout_logprobs.tolist() == [1.0] * 3
    assert tokens.advantages.tolist() == [1.0] * 3


@pytest.mark.process
def test_the_kit_needs_no_pytest() -> None:
    code = "import sys, dapoctl.testing; assert not {'pytest', '_pytest', 'transformers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
