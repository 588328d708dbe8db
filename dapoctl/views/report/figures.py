"""The figures of a report, as SVG. matplotlib is the extra `report`."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dapoctl.errors import UserError
from dapoctl.study.analysis import ARM, MAIN, Effect, Outcomes
from dapoctl.study.evidence import Evidence
from dapoctl.study.plan import PlannedRun
from dapoctl.views import metrics
from dapoctl.views.metrics import Unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = (
    "score/accuracy", "response/length_mean", "policy/entropy", "groups/kept_fraction", "policy/clip_fraction_low",
    "policy/clip_fraction_high", "policy/approx_kl", "policy/grad_norm", "rollout/importance_ess",
)  # fmt: skip
ACROSS = (("steps", "step"), ("tokens", "generated tokens"), ("hours", "hours of training"))
MOST_ARMS = 8
"""In one figure of curves: more cannot be told apart by colour"""


def figures(evidence: Evidence) -> dict[str, str]:
    """SVG by file name.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise UserError(
            "the figures of a report need matplotlib: pip install 'dapoctl[report]', or --no-figures"
        ) from None
    mpl.use("svg")
    # The same figures give the same files.
    with mpl.rc_context({"svg.hashsalt": "dapoctl", "svg.fonttype": "none", "font.size": 9}):
        drawn = {"forest.svg": _forest(evidence.primary[0], ARM), "curves.svg": _curves(evidence)}
        if evidence.plan.study.design.factorial:
            drawn["factorial.svg"] = _forest(evidence.primary[0], MAIN)
        return {name: _svg(figure) for name, figure in drawn.items() if figure is not None}


def _svg(figure: Figure) -> str:
    from matplotlib import pyplot

    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _scale(found: Outcomes) -> tuple[float, str]:
    """(factor, what the axis is called): shares are drawn in points."""
    if found.outcome.how != "reach" and metrics.unit(found.outcome.metric) is Unit.SHARE:
        return 100.0, f"{found.title}: difference, points"
    return 1.0, f"{found.title}: difference"


def _forest(found: Outcomes, kind: str) -> Figure | None:
    """Every effect of a kind with its interval, and the margin of equivalence."""
    from matplotlib import pyplot

    effects = [effect for effect in found.of(kind) if math.isfinite(effect.estimate.interval().low)]
    if not effects:
        return None
    factor, label = _scale(found)
    figure, axes = pyplot.subplots(figsize=(7, 0.8 + 0.32 * len(effects)))
    for place, effect in enumerate(reversed(effects)):
        _bar(axes, place, effect, factor)
    axes.axvline(0, color="black", linewidth=0.8)
    if found.outcome.smallest:
        axes.axvspan(-factor * found.outcome.smallest, factor * found.outcome.smallest, color="0.92", zorder=0)
    axes.set_yticks(range(len(effects)), [_name(effect) for effect in reversed(effects)])
    axes.set_xlabel(f"{label}, 95%")
    return figure


def _name(effect: Effect) -> str:
    return effect.name if effect.against in ("off", "") else f"{effect.name} against {effect.against}"


def _bar(axes: Axes, place: int, effect: Effect, factor: float) -> None:
    interval = effect.estimate.interval()
    axes.plot([factor * interval.low, factor * interval.high], [place, place], color="tab:blue", linewidth=1.5)
    axes.plot([factor * effect.estimate.value], [place], "o", color="tab:blue", markersize=4)


def _curves(evidence: Evidence) -> Figure | None:
    """Each metric against steps, tokens and hours; a colour for each arm."""
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    names = [name for name in CURVES if any(name in found.series for found in evidence.curves.values())]
    arms = _drawn(evidence)
    if not names or not arms:
        return None
    figure, grid = pyplot.subplots(len(names), len(ACROSS), figsize=(11, 2.1 * len(names)), squeeze=False)
    colours = {arm: f"C{place}" for place, arm in enumerate(arms)}
    for row, name in zip(grid, names, strict=True):
        for axes, (count, label) in zip(row, ACROSS, strict=True):
            for arm, runs in arms.items():
                _course(axes, evidence, name, count, runs, colours[arm])
            axes.set_xlabel(label)
        row[0].set_ylabel(metrics.title(name))
    handles = [Line2D([], [], color=colour, label=arm) for arm, colour in colours.items()]
    figure.legend(handles=handles, loc="upper center", ncols=4, frameon=False, bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.5 / (2.1 * len(names))))
    return figure


def _drawn(evidence: Evidence) -> dict[str, list[PlannedRun]]:
    """The arms whose curves are drawn: none and all of the factors, then the others, up to `MOST_ARMS`."""
    design = evidence.plan.study.design
    order = [design.none, design.all] if design.factorial else []
    order += [name for name, arm in evidence.plan.arms.items() if arm.factors is None]
    found = {name: evidence.runs_of(name) for name in dict.fromkeys(order)}
    return dict([(name, runs) for name, runs in found.items() if runs][:MOST_ARMS])


def _course(axes: Axes, evidence: Evidence, name: str, count: str, runs: Sequence[PlannedRun], colour: str) -> None:
    lines = [line for run in runs if (line := _line(evidence, run, name, count))]
    for across, values in lines:
        axes.plot(across, values, color=colour, linewidth=0.4, alpha=0.5)
    if lines:
        # At equal steps: seeds differ in what a step costs.
        shortest = min(len(values) for _, values in lines)
        across = [sum(line[0][place] for line in lines) / len(lines) for place in range(shortest)]
        values = [sum(line[1][place] for line in lines) / len(lines) for place in range(shortest)]
        axes.plot(across, values, color=colour, linewidth=1.6)


def _line(evidence: Evidence, run: PlannedRun, name: str, count: str) -> tuple[list[float], list[float]] | None:
    found = evidence.curves[run]
    spent = dict(zip(found.steps, found.spent(count), strict=True))
    points = [
        (spent[step], value) for step, value in found.series.get(name, ()) if step in spent and math.isfinite(value)
    ]
    return ([across for across, _ in points], [value for _, value in points]) if points else None
