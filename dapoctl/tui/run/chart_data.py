"""What charts are made of: the metrics of a run and of those laid over it, as they grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dapoctl.runs.history import Course
from dapoctl.tui.widgets.chart import COLOURS
from dapoctl.tui.widgets.curves import Curve, Growing, smooth
from dapoctl.views.metrics import Panel, panels, written

LETTERS = "abcdefgh"


class Material:
    """Curves of runs by their folders; the first is the one that the screen is about."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._runs: dict[Path, Growing] = {directory: Growing()}

    def read(self, courses: Sequence[tuple[Path, Course]]) -> bool:
        """Take over what was added to the files; whether there was anything. For a thread."""
        changed = False
        for path, course in courses:
            growing = self._runs.setdefault(path, Growing())
            before = growing.mark
            course.update()
            growing.update(dict(course.series))
            changed = changed or growing.mark != before
        return changed

    def keep(self, others: Sequence[Path]) -> None:
        """Let go of every run that is not laid over any more."""
        self._runs = {path: each for path, each in [*self._runs.items()] if path == self.directory or path in others}

    @property
    def own(self) -> Growing:
        """The run's metrics."""
        return self._runs[self.directory]

    def panels(self) -> list[Panel]:
        """The charts that there are."""
        return panels(self.own.names)

    def span(self) -> tuple[float, float] | None:
        """The first and the last step of any of the runs."""
        spans = [span for each in [*self._runs.values()] if (span := each.span) is not None]
        return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None

    def curves(self, panel: Panel, others: Sequence[Path], keep: float) -> list[Curve]:
        """What a chart draws: the run's metrics, and the first of them of each other run; with `keep`, smooth, the raw course
        of the run behind that."""
        found = []
        for index, name in enumerate(panel.metrics):
            each = self.own.curve(name)
            if each is None:
                continue
            faint, word = name in panel.faint, panel.legend[index] if panel.legend else ""
            sign = LETTERS[index % len(LETTERS)] if panel.legend else ""
            each = replace(each, name=word, style=COLOURS[0 if faint else index % len(COLOURS)], faint=faint, sign=sign)
            found += [each] if faint or not keep else [replace(each, faint=True, sign=""), _smooth(each, keep)]
        for index, path in enumerate(others, 1):
            there = self._runs.get(path)
            each = there.curve(panel.main) if there else None
            if each is not None:
                each = replace(each, style=COLOURS[index % len(COLOURS)], sign=str(index % 10))
                found.append(_smooth(each, keep) if keep else each)
        return found

    def facts(self, panel: Panel) -> str:
        """Extremes of a chart's first metric, in words."""
        each = self.own.curve(panel.main)
        words = [", ".join(panel.metrics[: 1 if panel.faint else None])]
        if each is not None:
            words.append(f"{len(each.steps)} points")
            words += [f"{word} {written(panel.main, value)} at step {step:g}" for word, step, value in each.extremes()]
        return "   ".join(words)


def _smooth(each: Curve, keep: float) -> Curve:
    return replace(each, values=smooth(each.values, keep))
