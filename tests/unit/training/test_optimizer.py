"""The optimizer's states: what is kept smaller, or elsewhere, trains as torch's AdamW does."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from dapoctl.config import RunConfig
from dapoctl.doctor.workload import STATE_BYTES
from dapoctl.errors import RunWarning
from dapoctl.models.rounding import rounded_at_random
from dapoctl.training.optimizer import build_optimizer, compact
from dapoctl.training.optimizer.compact import CompactAdamW
from dapoctl.training.optimizer.forms import BLOCK, FORMS, SCALE, dynamic_map
from dapoctl.training.step import accumulate_gradient, estimate
from tests.support.learners import make_learner, responses_batch

SHAPES = ((64, 96), (7, 1001), (4096,), (33,))
"""Of whole blocks and not, and one that stays float32 in 8 bits"""


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator) * 0.02) for shape in SHAPES]


def make(
    form: str, weights: Sequence[torch.nn.Parameter], lr: float = 1e-6, decay: float = 0.0
) -> torch.optim.Optimizer:
    groups = [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": decay},
        {"params": [w for w in weights if w.dim() < 2]},
    ]
    if form == "float32":
        return torch.optim.AdamW(groups, lr, (0.9, 0.999), weight_decay=0.0, fused=True)
    return CompactAdamW(groups, lr, (0.9, 0.999), FORMS[form])


def updates(
    optimizer: torch.optim.Optimizer,
    weights: Sequence[torch.nn.Parameter],
    steps: range,
    draw: Callable[[Tensor, torch.Generator], Tensor] = lambda noise, _: noise,
) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(1000 + step)
        for weight in weights:
            noise = torch.randn(weight.shape, generator=generator)
            weight.grad = draw(noise, generator).to(weight.dtype)
        optimizer.step()


def test_states_on_the_host_train_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "STATE_CHUNK", 8 * BLOCK)
    ours, theirs = parameters(), parameters()
    updates(make("offload", ours, 1e-3, 0.1), ours, range(30))
    updates(make("float32", theirs, 1e-3, 0.1), theirs, range(30))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("form", "most"), [("bfloat16", 0.01), ("8bit", 0.05)])
def test_smaller_states_change_the_weights_as_float32_does(form: str, most: float) -> None:
    """Gradients with a direction beside their noise, of sizes that differ by factors of e within a block."""
    generator = torch.Generator().manual_seed(3)
    sizes = {math.prod(shape): torch.randn(shape, generator=generator).div(2).exp() for shape in SHAPES}

    def draw(noise: Tensor, _: torch.Generator) -> Tensor:
        size = sizes[noise.numel()]
        return 1e-3 * size * (noise + 0.6 * size.log())

    found = {}
    for name in ("float32", form):
        weights = parameters()
        updates(make(name, weights), weights, range(200), draw)
        found[name] = torch.cat(
            [(w.detach() - b.detach()).flatten() for w, b in zip(weights, parameters(), strict=True)]
        )
    error = (found[form] - found["float32"]).norm() / found["float32"].norm()
    assert 0 < error < most


def test_weights_in_bfloat16_would_not_move() -> None:
    """Why weights are float32: of an update at this rate, rounding leaves next to nothing."""
    weights = [torch.nn.Parameter(w.detach().bfloat16()) for w in parameters()]
    updates(torch.optim.AdamW(weights, 1e-6), weights, range(20))
    still = [
        float((w.detach() == b.detach().bfloat16()).float().mean()) for w, b in zip(weights, parameters(), strict=True)
    ]
    assert min(still) > 0.95
    exact = parameters()
    updates(make("float32", exact), exact, range(20))
    assert all(bool((w != b).float().mean() > 0.9) for w, b in zip(exact, parameters(), strict=True))


def test_in_8_bits_no_denominator_becomes_nothing() -> None:
    """Sizes of gradients that differ by thousands within a block: kept as squares, the weights went 20 times as far."""
    generator = torch.Generator().manual_seed(3)
    sizes = {math.prod(shape): torch.randn(shape, generator=generator).mul(2).exp() for shape in SHAPES}
    lengths = {}
    for form in ("float32", "8bit"):
        weights = parameters()
        updates(make(form, weights), weights, range(100), lambda noise, _: sizes[noise.numel()] * (noise + 0.3))
        lengths[form] = max(float((w.detach() - b.detach()).norm()) for w, b in zip(weights, parameters(), strict=True))
    assert lengths["8bit"] == pytest.approx(lengths["float32"], rel=0.1)


def test_to_the_nearest_the_mean_of_squares_would_stand_still() -> None:
    """An update changes it by one in a thousand, and bfloat16 has eight bits."""
    generator = torch.Generator().manual_seed(0)
    nearest = random = torch.full((2000,), 1.0).bfloat16()
    for _ in range(100):
        nearest = (nearest.float() * 0.999).bfloat16()
        random = rounded_at_random(random.float() * 0.999, torch.bfloat16, generator)
    assert float(nearest.float().mean()) == 1.0
    assert float(random.float().mean()) == pytest.approx(0.999**100, abs=0.003)


def test_the_8_bit_numbers_are_those_of_the_paper() -> None:
    """Constants of torchao 0.18, `create_dynamic_map`, which has them of bitsandbytes."""
    signed, unsigned = dynamic_map(True), dynamic_map(False)
    assert (len(signed), len(unsigned)) == (256, 256)
    assert signed.unique().numel() == unsigned.unique().numel() == 256
    assert signed[:2].tolist() == pytest.approx([-0.99296875, -0.97890625])
    assert signed[126:130].tolist() == pytest.approx([-5.5e-7, 0.0, 5.5e-7, 3.25e-6], rel=1e-5)
    assert unsigned[:4].tolist() == pytest.approx([0.0, 3.25e-7, 7.75e-7, 2.125e-6], rel=1e-5)
    assert unsigned[-2:].tolist() == pytest.approx([0.996484375, 1.0])


@pytest.mark.parametrize("signed", [True, False])
def test_each_number_becomes_the_nearest_of_256(signed: bool) -> None:
    form, generator = FORMS["8bit"], torch.Generator().manual_seed(0)
    parameter = torch.zeros(41, 101)
    values = torch.randn(parameter.numel(), generator=generator)
    values = values if signed else values.square()
    kept, whole = form.zeros(parameter, signed), slice(0, parameter.numel())
    form.keep(kept, whole, values, generator, signed=signed)
    scale = kept[SCALE].repeat_interleave(BLOCK)[: len(values)]
    unit = (values if signed else values.sqrt()) / scale
    distance = (unit[:, None] - dynamic_map(signed)).abs()
    chosen = distance.gather(1, kept[""].flatten()[:, None].long())[:, 0]
    assert torch.allclose(chosen, distance.amin(1), atol=1e-7)


@pytest.mark.parametrize("form", ["bfloat16", "8bit", "offload"])
def test_what_was_saved_goes_on_to_the_same_bits(form: str) -> None:
    weights = parameters()
    optimizer = make(form, weights, 1e-3)
    updates(optimizer, weights, range(4))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    again = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    resumed = make(form, again, 1e-3)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    updates(optimizer, weights, range(4, 8))
    updates(resumed, again, range(4, 8))
    for one, other in zip(weights, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", ["float32", "bfloat16", "8bit", "offload"])
def test_states_take_what_the_doctor_counts(form: str) -> None:
    weights = [torch.nn.Parameter(torch.zeros(512, 1024))]
    optimizer = make(form, weights)
    updates(optimizer, weights, range(1))
    tensors = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
    taken = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert taken == STATE_BYTES[form] * 512 * 1024


def test_a_run_has_the_states_that_it_asks_for() -> None:
    policy = make_learner([]).policy

    def built(**optim: Any) -> torch.optim.Optimizer:
        return build_optimizer(RunConfig(optim={"lr": 1e-4, **optim}), policy)  # type: ignore[arg-type]

    assert isinstance(built(), torch.optim.AdamW)
    compact_one = built(states="8bit", weight_decay=0.1, beta2=0.95)
    assert isinstance(compact_one, CompactAdamW)
    assert compact_one.form is FORMS["8bit"]
    assert [group["weight_decay"] for group in compact_one.param_groups] == [0.1, 0.0]
    assert compact_one.param_groups[0]["betas"] == (0.9, 0.95)
    with pytest.warns(RunWarning, match="saves nothing on a CPU"):
        built(states="offload")


@pytest.mark.slow
@pytest.mark.parametrize(("form", "most"), [("bfloat16", 0.01), ("8bit", 0.05)])
def test_real_gradients_move_a_model_as_float32_does(form: str, most: float) -> None:
    """Slow: 200 gradients of a model, at a rate where plain bfloat16 weights stand still."""
    learner = make_learner(["clip"], optim={"lr": 1e-6})
    weights = learner.policy.parameters()
    start = [weight.detach().clone() for weight in weights]
    others = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    ours = build_optimizer(RunConfig(optim={"lr": 1e-6, "states": form}), _Trains(others))  # type: ignore[arg-type]
    for step in range(200):
        batch = estimate(learner, responses_batch(learner.policy, 1, 4, 12, seed=step))
        accumulate_gradient(learner, batch)
        for weight, other in zip(weights, others, strict=True):
            other.grad = None if weight.grad is None else weight.grad.clone()
        learner.optimizer.step()
        ours.step()
        learner.optimizer.zero_grad(set_to_none=True)
    moved, expected = (
        torch.cat([(w.detach() - s).flatten() for w, s in zip(each, start, strict=True)]) for each in (others, weights)
    )
    assert 0 < float((moved - expected).norm() / expected.norm()) < most


class _Trains:
    device = torch.device("cpu")

    def __init__(self, weights: list[torch.nn.Parameter]) -> None:
        self.weights = weights
        self.masters: dict[torch.nn.Parameter, Tensor] = {}

    def parameters(self) -> list[torch.nn.Parameter]:
        return self.weights
