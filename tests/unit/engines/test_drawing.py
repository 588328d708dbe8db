"""Drawing tokens: frequencies against torch's softmax and scipy's chi-squared, nuclei against a sort in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from dapoctl.engines import Sampling
from dapoctl.engines.sample_tokens import LIKELY, draw, nucleus, pick


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(rows: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, 1, dtype=torch.float64, generator=generator(seed))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
def test_frequencies_are_those_of_the_softmax(count: int) -> None:
    logits = torch.randn(count, generator=generator(1)) * 2
    places, logprobs = pick(logits.expand(200_000, -1), uniform(200_000))
    expected = logits.double().softmax(-1)
    assert torch.allclose(logprobs.double(), expected.log()[places], atol=1e-5)
    found = torch.bincount(places, minlength=count).double()
    often = expected * len(places) > 5
    if int(often.sum()) > 1:
        rest = [float(found[~often].sum())] if not bool(often.all()) else []
        wanted = [float(expected[~often].sum() * len(places))] if rest else []
        observed = [*found[often].tolist(), *rest]
        predicted = [*(expected[often] * len(places)).tolist(), *wanted]
        scale = sum(observed) / sum(predicted)
        assert chisquare(observed, [value * scale for value in predicted]).pvalue > 1e-3


def test_what_has_no_probability_is_never_drawn() -> None:
    logits = torch.full((50_000, 100), float("-inf"))
    logits[:, 17] = 0.0
    logits[:, 62] = -3.0
    places, logprobs = pick(logits, uniform(50_000))
    assert {*places.tolist()} == {17, 62}
    assert torch.isfinite(logprobs).all()


def test_the_ends_of_the_unit_interval_have_a_token() -> None:
    logits = torch.tensor([[float("-inf"), 1.0, 2.0, float("-inf"), 0.5, float("-inf")]])
    for value, place in ((0.0, 1), (1.0 - 2**-53, 4)):
        assert pick(logits, torch.tensor([[value]], dtype=torch.float64))[0].tolist() == [place]


def test_the_whole_vocabulary_can_be_drawn() -> None:
    """262,144 equal entries: every part of the range is met, and each log-probability is exact."""
    places, logprobs = pick(torch.zeros(64, 262_144).expand(64, -1).repeat(4, 1), uniform(256))
    assert torch.allclose(logprobs, torch.tensor(-math.log(262_144)), atol=1e-6)
    assert int(places.min()) < 262_144 * 0.02
    assert int(places.max()) > 262_144 * 0.98


def by_hand(row: Tensor, top_p: float) -> set[int]:
    probs = row.double().softmax(-1).tolist()
    kept, mass = set(), 0.0
    for token in sorted(range(len(probs)), key=lambda token: -probs[token]):
        if mass >= top_p:
            break
        kept.add(token)
        mass += probs[token]
    return kept


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.7, 0.95, 0.999])
@pytest.mark.parametrize(
    ("count", "spread"), [(10, 1.0), (LIKELY[0] + 500, 4.0), (LIKELY[0] * 4, 0.1), (LIKELY[1] + 1, 0.1)]
)
def test_a_nucleus_is_the_smallest_set_of_likely_tokens(count: int, spread: float, top_p: float) -> None:
    logits = torch.randn(3, count, generator=generator(2)) * spread
    candidates, tokens = nucleus(logits, top_p)
    for row in range(3):
        assert {*tokens[row][torch.isfinite(candidates[row])].tolist()} == by_hand(logits[row], top_p)


def test_temperature_and_nucleus_together() -> None:
    logits = torch.randn(5, 40, generator=generator(3))
    tokens, logprobs = draw(logits, Sampling(1, temperature=0.6, top_p=0.8), uniform(5))
    for row in range(5):
        kept = by_hand(logits[row] / 0.6, 0.8)
        assert int(tokens[row]) in kept
        scaled = logits[row].double() / 0.6
        normaliser = math.log(sum(math.exp(float(scaled[token])) for token in kept))
        assert float(logprobs[row]) == pytest.approx(float(scaled[tokens[row]]) - normaliser, abs=1e-5)


def test_greedy_is_the_most_likely_at_temperature_one() -> None:
    logits = torch.randn(5, 40, generator=generator(4))
    tokens, logprobs = draw(logits, Sampling(1, temperature=0.0), uniform(5))
    assert tokens.tolist() == logits.argmax(-1).tolist()
    assert torch.allclose(logprobs, logits.log_softmax(-1).amax(-1), atol=1e-6)


def test_the_same_numbers_give_the_same_tokens() -> None:
    logits = torch.randn(50, 1000, generator=generator(5))
    sampling = Sampling(1)
    assert torch.equal(draw(logits, sampling, uniform(50, 1))[0], draw(logits, sampling, uniform(50, 1))[0])
    assert not torch.equal(draw(logits, sampling, uniform(50, 1))[0], draw(logits, sampling, uniform(50, 2))[0])
