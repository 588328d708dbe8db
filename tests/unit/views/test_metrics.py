"""Metrics are defined once: what is added to the registry is wherever it says, and what is not in it is shown sensibly."""

from __future__ import annotations

from collections import Counter

import pytest

from dapoctl.views import metrics, progress_block
from dapoctl.views.metrics import METRICS, Metric, Unit, is_held_out, metric, panels, shown_in, title, unit, written
from dapoctl.views.progress import Progress

NEW = Metric(
    name="policy/kurtosis",
    title="kurtosis of the advantages",
    unit=Unit.SHARE,
    row="entropy",
    block="kurtosis",
    step_line="kurtosis",
    inspector="kurtosis",
    compare="kurtosis",
)
"""One line, as somebody would add it to `METRICS`"""


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    every = (*METRICS[:3], NEW, *METRICS[3:])
    monkeypatch.setattr(metrics, "METRICS", every)
    monkeypatch.setattr(progress_block, "METRICS", every)
    monkeypatch.setattr(metrics, "_BY_NAME", {entry.name: entry for entry in every})
    monkeypatch.setattr(metrics, "_ORDER", {entry.name: place for place, entry in enumerate(every)})
    for cached in (metrics.metric, metrics.unit):
        cached.cache_clear()
        monkeypatch.setattr(metrics, cached.__name__, cached.__wrapped__)


@pytest.mark.usefixtures("added")
def test_a_metric_added_to_the_registry_is_wherever_it_says() -> None:
    logged = {"reward/mean": 1.0, NEW.name: 0.25, "policy/entropy": 0.5}
    assert [panel.title for panel in metrics.panels(logged)] == ["reward", "kurtosis of the advantages", "entropy"]
    assert metrics.written(NEW.name, 0.25) == "25.0%"
    progress = Progress("a", 5)
    progress.record(1, logged)
    assert "25.0% kurtosis" in "\n".join(row.plain for row in progress_block.block(progress, 120))
    assert " kurtosis=0.25" in progress_block.step_line(progress)
    for place in ("inspector", "compare"):
        assert NEW in metrics.shown_in(place)


def test_every_name_is_known_once_and_fits_its_pattern() -> None:
    assert max(Counter(entry.name for entry in METRICS).values()) == 1
    for entry in METRICS:
        assert entry.pattern.fullmatch(entry.name.replace("**", "a/b").replace("*", "c"))
        assert "*" in entry.name or metric(entry.name) is entry


def test_charts_that_several_share_have_a_name_for_each() -> None:
    shared = Counter(entry.chart for entry in METRICS if entry.chart)
    assert shared == {"clipped": 2, "zero-variance groups": 2, "seconds": 4}
    (panel,) = panels(["policy/clip_fraction_high", "policy/clip_fraction_low"])
    assert (panel.title, panel.legend, panel.main) == ("clipped", ("low", "high"), "policy/clip_fraction_low")
    (panel,) = panels(["policy/clip_fraction_high"])
    assert (panel.title, panel.legend) == ("clipped", ("high",))


@pytest.mark.parametrize(
    ("name", "heading", "kind"),
    [
        ("policy/my_penalty", "my_penalty", Unit.NUMBER),
        ("reward/politeness", "reward/politeness", Unit.NUMBER),
        ("mine/good_fraction", "mine/good_fraction", Unit.SHARE),
        ("mine/cache_bytes", "mine/cache_bytes", Unit.BYTES),
        ("mine/read_tokens_per_s", "mine/read_tokens_per_s", Unit.TOKENS_PER_SECOND),
        ("mine/lookup_seconds", "mine/lookup_seconds", Unit.SECONDS),
        ("time/reward_model", "time/reward_model", Unit.SECONDS),
        ("eval/aime24/pass@8", "aime24 pass@8", Unit.SHARE),
        ("eval/aime24/length_mean", "aime24 length_mean", Unit.NUMBER),
        ("eval/aime24/truncated_fraction", "aime24 truncated_fraction", Unit.SHARE),
        ("alone", "alone", Unit.NUMBER),
        ("[red]a\nb/c", "[red]a\nb/c", Unit.NUMBER),
    ],
)
def test_a_metric_that_nobody_knows_has_a_chart_a_title_and_a_unit(name: str, heading: str, kind: Unit) -> None:
    assert (title(name), unit(name)) == (heading, kind)
    charts = {panel.title: panel.metrics for panel in panels([name, "reward/mean", "time/update"])}
    assert charts == {"reward": ("reward/mean",), "seconds": ("time/update",)} | {heading: (name,)}


def test_a_metric_called_like_a_chart_has_its_own() -> None:
    assert [panel.metrics for panel in panels(["seconds", "time/update"])] == [("time/update",), ("seconds",)]


def test_an_accuracy_on_held_out_problems_is_told_by_its_name() -> None:
    assert is_held_out("eval/aime24/avg@32")
    assert is_held_out("eval/a/b/avg@1")
    for name in ("eval/aime24/avg@32/low", "eval/aime24/avg@32/noise_low", "eval/aime24/pass@32", "score/avg@1"):
        assert not is_held_out(name)
    (panel,) = panels(["eval/a/avg@8/high", "eval/a/avg@8", "eval/a/avg@8/low"])
    assert panel.title == "held-out a avg@8"
    assert panel.faint == ("eval/a/avg@8/low", "eval/a/avg@8/high")


def test_places_without_a_chart_have_their_own_order() -> None:
    assert [entry.step_line for entry in shown_in("step_line")] == [
        *("reward", "accuracy", "entropy", "kept", "length", "grad_norm", "tokens_per_s")
    ]
    assert [entry.compare for entry in shown_in("compare")] == ["reward", "accuracy", "length"]
    assert [entry.inspector for entry in shown_in("inspector")] == [
        *("reward", "accuracy", "entropy", "length", "kept", "grad norm")
    ]


def test_bytes_and_shares_are_written_as_people_write_them() -> None:
    assert written("mine/cache_bytes", 2**31) == "2.0 GiB"
    assert written("mine/good_fraction", 0.125) == "12.5%"
    assert written("policy/my_penalty", 0.125) == "0.125"
