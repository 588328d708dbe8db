"""The section of a report on single problems: pass@k, what is newly solved and lost, and responses drawn at random."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator

from dapoctl.study.evidence import Evidence
from dapoctl.study.solved import drawn
from dapoctl.views.markdown import code, escaped, table
from dapoctl.views.numbers import percent
from dapoctl.views.report.words import joined, mean_last
from dapoctl.views.text import one_line

PASS = re.compile(r"eval/(?P<set>.+)/pass@(?P<k>\d+)")
DRAWN, SEED, LONGEST = 3, 0, 400


def pass_at_k(evidence: Evidence) -> str:
    """8. pass@k before and after, by arm."""
    names = sorted(
        {name for found in evidence.curves.values() for name in found.series if PASS.fullmatch(name)}, key=_by_k
    )
    if not names:
        return "`eval.k` = 1: there is no pass@k beyond avg@1."
    rows = []
    for arm in evidence.plan.arms:
        runs = evidence.runs_of(arm)
        cells = []
        for name in names:
            before = [
                value
                for run in runs
                if (points := evidence.curves[run].series.get(name)) and math.isfinite(value := points[0][1])
            ]
            after = mean_last(evidence, arm, name)
            cells.append(f"{percent(statistics.fmean(before))} → {percent(after)}" if before else "")
        rows.append([code(arm), *cells])
    note = (
        "Means over seeds, before training and at the last evaluation. Where pass@k does not rise with avg@k, training"
    )
    return joined([
        "\n".join(table(["arm", *(code(name) for name in names)], rows)),
        f"{note} sharpened what the model could do already.",
        *_solved(evidence),
        *_transcripts(evidence),
    ])  # fmt: skip


def _by_k(name: str) -> tuple[str, int]:
    found = PASS.fullmatch(name)
    assert found is not None
    return found["set"], int(found["k"])


def _solved(evidence: Evidence) -> Iterator[str]:
    sets = [*dict.fromkeys(name for found in evidence.solved.values() for name in found)]
    for name in sets:
        rows = []
        for arm in evidence.plan.arms:
            found = [evidence.solved[run][name] for run in evidence.runs_of(arm) if name in evidence.solved[run]]
            if found:
                cells = [statistics.fmean(each.problems for each in found)]
                cells += [
                    statistics.fmean(each.gained for each in found),
                    statistics.fmean(each.lost for each in found),
                ]
                rows.append([code(arm), *(f"{cell:.1f}" for cell in cells)])
        yield (
            f"Problems of {code(name)} that are right in at least one response at the last evaluation and were in none before"
            " training, and the other way round; means over seeds:"
        )
        yield "\n".join(table(["arm", "problems", "newly solved", "lost"], rows))


def _transcripts(evidence: Evidence) -> Iterator[str]:
    """Of the first run of the baseline and of the cell without any factor."""
    design = evidence.plan.study.design
    for arm in dict.fromkeys(name for name in (design.baseline, design.none) if name in evidence.plan.arms):
        for run in evidence.runs_of(arm)[:1]:
            rows = drawn(evidence.directories[run], DRAWN, SEED)
            if rows:
                yield f"Responses of {code(run.name)} at its last evaluation, drawn with seed {SEED}, not chosen:"
                yield "\n".join(
                    f"- {escaped(one_line(str(row['problem'])))}, {escaped(str(row['outcome']))}:"
                    f" {code(_short(str(row['response'])))}"
                    for row in rows
                )


def _short(text: str) -> str:
    """On one line in backticks, so without any of its own."""
    plain = one_line(text).replace("`", "'")
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]} ... {plain[-LONGEST // 2 :]}"
