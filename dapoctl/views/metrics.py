"""Which charts a run's metrics make, in what order, and how their values are written.

Every metric that a run has is in one of them; those that say most come first. Nothing here decides by a component's name: what
a regularizer reports under `policy/` is known by not being one of the trainer's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dapoctl.views.numbers import byte_size, number, percent
from dapoctl.views.progress import ENTROPY, REWARD, is_held_out, spoken

BOUNDS = ("/low", "/high")
"""Ends of the interval of a held-out figure"""


@dataclass(frozen=True)
class Panel:
    """A chart: metrics that are drawn together."""

    title: str
    metrics: tuple[str, ...]
    words: tuple[str, ...] = ()
    """What each metric is called beside the others; empty for one alone"""
    faint: tuple[str, ...] = ()
    """Metrics that are drawn behind the others"""

    @property
    def main(self) -> str:
        """The metric whose value the title shows."""
        return self.metrics[0]


FIRST = (
    Panel("reward", (REWARD,)),
    Panel("accuracy", ("score/accuracy",)),
)
SECOND = (
    Panel("entropy", (ENTROPY,)),
    Panel("response length", ("response/length_mean",)),
    Panel("clipped", ("policy/clip_fraction_low", "policy/clip_fraction_high"), ("low", "high")),
)
THIRD = (
    Panel("groups kept", ("groups/kept_fraction",)),
    Panel("gradient norm", ("policy/grad_norm",)),
    Panel("groups alike", ("groups/all_right", "groups/all_wrong"), ("right", "wrong")),
    Panel("responses cut off", ("response/truncated_fraction",)),
    Panel("no answer found", ("score/unanswered",)),
    Panel("approximate KL of a step", ("policy/approx_kl",)),
    Panel("logprob mismatch", ("rollout/logprob_mismatch_mean",)),
    Panel("importance ESS", ("rollout/importance_ess",)),
    Panel(
        "seconds",
        ("time/update", "time/generate", "time/score", "time/sync"),
        ("update", "generate", "score", "sync"),
    ),
    Panel("tokens/s sampled", ("throughput/generated_tokens_per_s",)),
    Panel("tokens/s trained", ("throughput/trained_tokens_per_s",)),
    Panel("peak memory", ("memory/peak_bytes",)),
)
LAST = (
    Panel("updates skipped", ("policy/skipped_updates",)),
    Panel("loss", ("policy/loss",)),
    Panel("largest ratio", ("policy/ratio_max",)),
    Panel("mean ratio", ("policy/ratio_mean",)),
    Panel("largest mismatch", ("rollout/logprob_mismatch_max",)),
    Panel("learning rate", ("policy/learning_rate",)),
)


def panels(names: Iterable[str]) -> list[Panel]:
    """The charts of a run that has the metrics `names`."""
    there = {*names}
    rest = there - {name for panel in (*FIRST, *SECOND, *THIRD, *LAST) for name in panel.metrics}
    held = sorted(name for name in rest if is_held_out(name))
    bounds = {f"{name}{end}" for name in held for end in BOUNDS}
    rest -= {*held} | bounds | {name for name in rest if name.endswith(BOUNDS)}
    penalties = sorted(name for name in rest if name.startswith("policy/"))
    rest -= {*penalties}
    measured = sorted(name for name in rest if name.startswith("eval/"))
    found = [_present(panel, there) for panel in FIRST]
    found += [_held_out(name, there) for name in held]
    found += [_present(panel, there) for panel in SECOND]
    found += [Panel(name.removeprefix("policy/"), (name,)) for name in penalties]
    found += [_present(panel, there) for panel in THIRD]
    found += [Panel(name, (name,)) for name in sorted(rest - {*measured})]
    found += [_present(panel, there) for panel in LAST]
    found += [Panel(spoken(name), (name,)) for name in measured]
    return [panel for panel in found if panel is not None]


def _present(panel: Panel, there: set[str]) -> Panel | None:
    kept = [index for index, name in enumerate(panel.metrics) if name in there]
    if not kept:
        return None
    words = tuple(panel.words[index] for index in kept) if panel.words else ()
    return Panel(panel.title, tuple(panel.metrics[index] for index in kept), words)


def _held_out(name: str, there: set[str]) -> Panel:
    ends = tuple(f"{name}{end}" for end in BOUNDS if f"{name}{end}" in there)
    return Panel(f"held-out {spoken(name)}", (name, *ends), faint=ends)


def is_share(name: str) -> bool:
    """Whether a metric is a part of a whole, written in percent."""
    if name.startswith("eval/") and "@" in name:
        return True
    tail = name.rpartition("/")[2]
    return "fraction" in tail or name in SHARES


SHARES = (
    "score/accuracy",
    "score/unanswered",
    "score/error",
    "score/timeout",
    "groups/all_right",
    "groups/all_wrong",
    "policy/skipped_updates",
)


def written(name: str, value: float) -> str:
    """A metric's value as people write it: `61.7%`, `1.3 GiB`, `0.312`, `nan`."""
    if value != value or value in (float("inf"), float("-inf")):
        return f"{value}"
    if is_share(name):
        return percent(value)
    return byte_size(value) if name.endswith("_bytes") else number(value)


def last_values(panel: Panel, last: Mapping[str, float]) -> list[tuple[str, float]]:
    """(word, value) of each metric of the chart that is not faint."""
    words = panel.words or ("",) * len(panel.metrics)
    shown = [item for item in zip(panel.metrics, words, strict=False) if item[0] not in panel.faint]
    return [(word, last[name]) for name, word in shown if name in last]
