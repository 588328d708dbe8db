"""A comparison as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from dapoctl.cli import pages
from dapoctl.cli.output import one_line
from dapoctl.cli.problems import WIDE, WIDEST, at_k, curves, matrix, responses
from dapoctl.cli.tables import diff_lines
from dapoctl.evaluation.statistics import FEWEST

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dapoctl.evaluation.comparison import Comparison, Contrast, Line, Measured

ALPHA = 0.05


def page(found: Comparison, lines: Sequence[Line], rows: int, columns: int) -> Iterator[RenderableType]:
    """All sections: who is compared, the summary, badges, what to make of it, responses, pass@j, matrix, configurations."""
    yield from _who(found, columns)
    yield pages.heading(f"{found.set}: does it help?")
    yield _summary(found, columns)
    yield from _badges(found)
    yield from _reading(found)
    yield from _notes(found, columns)
    yield from responses(found, columns)
    yield from curves(found, columns)
    yield from matrix(found, lines, rows, columns)
    yield from _configs(found)


def _who(found: Comparison, columns: int) -> Iterator[RenderableType]:
    wide = columns >= WIDE
    made = pages.table(("", "run@step", "model", "problems x k", "components"), left=(0, 1, 2, 3, 4))
    for side in found.sides:
        evaluation = side.evaluation
        of = "" if evaluation.complete else f" of {evaluation.expected}"
        facts = [_model(evaluation.model), f"{len(evaluation.scores)}{of} x {evaluation.k}"]
        facts.append(", ".join(evaluation.run.components) or "no components")
        if wide:
            made.add_row(pages.text(side.label, "bold"), *(pages.text(words) for words in (evaluation.name, *facts)))
        else:
            words = f"{evaluation.name}: {', '.join(facts)}"
            yield Text.assemble((f"{side.label}  ", "bold"), one_line(words))
    if wide:
        yield made
    for word, why in found.missing:
        yield pages.text(f"left out: `{word}`: {why}", "yellow")
    for side in found.sides:
        for words in side.evaluation.trouble:
            yield pages.text(f"{side.label}: {words}", "yellow")


def _model(path: str) -> str:
    """A hub name as it is, the end of a local path."""
    parts = path.split("/")
    return path if len(parts) <= 2 and parts[0] else "/".join(["…", *parts[-1:]]) if path else "model unknown"


def _summary(found: Comparison, columns: int) -> RenderableType:
    wide, several = columns >= WIDE, len(found.contrasts) > 1
    unit = _hour_unit(found.sides)
    headers = ["", f"{at_k(found, 'avg')} [95%]", f"minus {found.sides[0].label} [95%]"]
    headers += ["these problems"] if columns >= WIDEST else []
    headers += ["p", *(["p Holm"] if several else [])] if wide else ["p Holm" if several else "p"]
    headers += ["detects", *(["up", "down"] if wide else []), f"{unit} h", "tokens"]
    headers += ["eval h", "eval tokens"] if wide else []
    made = pages.table(headers)
    for side, contrast in zip(found.sides, (None, *found.contrasts), strict=True):
        figure = side.figure("avg")
        cells = [pages.with_interval(figure.value, figure.interval), *_against(contrast, columns, several)]
        cells += [pages.hours(side.cost.train_hours), pages.count(side.cost.train_tokens)]
        cells += [pages.hours(side.cost.eval_hours), pages.count(side.cost.eval_tokens)] if wide else []
        made.add_row(pages.text(side.label, "bold"), *cells)
    return made


def _against(contrast: Contrast | None, columns: int, several: bool) -> list[str | Text]:
    wide, widest = columns >= WIDE, columns >= WIDEST
    if contrast is None:
        return ["baseline", *([""] * (2 + (2 + several) * wide + widest))]
    clear = contrast.holm < ALPHA
    ps = [contrast.test.p, contrast.holm] if wide and several else [contrast.holm]
    cells: list[str | Text] = [
        Text(pages.with_interval(contrast.difference, contrast.interval, signed=True), "bold" if clear else "")
    ]
    cells += [pages.ends(contrast.noise)] if widest else []
    cells += [Text(pages.p_value(p), "bold" if clear else "") for p in ps]
    detectable = contrast.detectable
    cells.append(f"{100 * detectable:.1f}" if math.isfinite(detectable) else pages.UNKNOWN)
    return [*cells, *([str(contrast.higher), str(contrast.lower)] if wide else [])]


def _hour_unit(sides: Sequence[Measured]) -> str:
    kinds = {side.cost.gpu for side in sides}
    return "GPU" if kinds == {True} else "CPU" if kinds == {False} else "device"


def _badges(found: Comparison) -> Iterator[Text]:
    for contrast in found.contrasts:
        if contrast.badges:
            made = Text(f"\n{contrast.label} is unlike {found.sides[0].label} ", "yellow")
            for badge in contrast.badges:
                made.append("\n  ").append(f" {badge.kind} ", "reverse").append(f" {one_line(badge.words)}", "not bold")
            yield made


def _reading(found: Comparison) -> Iterator[Text]:
    """A sentence on each contrast, so that nobody reads noise."""
    base = found.sides[0].label
    yield Text()
    for contrast in found.contrasts:
        many = len(contrast.problems)
        if not many:
            yield pages.text(f"{contrast.label}: no problem was measured on both sides, so nothing can be said")
            continue
        over = f"over {many} problem{'s' * (many > 1)}, of which {contrast.higher + contrast.lower} differ{_caution(contrast)}"
        p = f"p = {pages.p_value(contrast.holm)}".replace("= <", "< ")
        if contrast.holm < ALPHA:
            word = "higher" if contrast.difference > 0 else "lower"
            yield pages.text(f"{contrast.label} is {word} than {base} ({p}) {over}")
        else:
            least = f"{100 * contrast.detectable:.1f} points" if math.isfinite(contrast.detectable) else "any size"
            words = f"{contrast.label} is not told apart from {base} ({p}) {over}; a difference below {least} would be missed"
            yield pages.text(f"{words} more often than one time in five")


def _caution(contrast: Contrast) -> str:
    kinds = [badge.kind for badge in contrast.badges if badge.kind not in ("incomplete", "unasked", "unknown")]
    return f" (but so {'do' if len(kinds) > 1 else 'does'} the evaluations' {', '.join(kinds)})" if kinds else ""


def _notes(found: Comparison, columns: int) -> Iterator[Text]:
    methods = sorted({contrast.test.method for contrast in found.contrasts})
    many = len(found.contrasts)
    yield Text()
    yield pages.note(
        "[95%]: for problems drawn anew (cluster bootstrap over problems)."
        f"{' these problems: for other responses to the same problems.' if columns >= WIDEST else ''}"
        " Differences in points, paired by problem."
        f" p: {' / '.join(methods)}{f'; Holm: corrected for {many} comparisons' if many > 1 else ''}."
        " detects: the smallest true difference that such problems and k show four times of five."
        " Hours and tokens: what training up to the step took; eval: what the evaluation took."
    )
    if any(0 <= contrast.higher + contrast.lower < FEWEST and contrast.problems for contrast in found.contrasts):
        yield pages.note(
            f"Where fewer than {FEWEST} problems differ, p cannot fall below 0.05 and intervals are rough."
        )


def _configs(found: Comparison) -> Iterator[Text]:
    base = found.sides[0]
    for side, contrast in zip(found.sides[1:], found.contrasts, strict=True):
        yield pages.heading(f"{base.label} -> {side.label}: what differs between the runs")
        if side.evaluation.run.id == base.evaluation.run.id:
            yield pages.note(f"one run, at step {base.evaluation.step} and step {side.evaluation.step}")
            continue
        for words in diff_lines(base.evaluation.run.id, side.evaluation.run.id, contrast.config)[2:]:
            if words:
                yield Text(words, overflow="ellipsis", no_wrap=True)
