"""`dapoctl rescore`: stored responses under several scorers, and where these disagree."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import emit, emit_json, warn
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from dapoctl.evaluation.rescoring import Rescored, Responses


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("rescore")(rescore)


def rescore(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_FILE", help="A run, or a .jsonl file with answer and response.")
    ],
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer", metavar="NAME", help="math, math_lenient, dapo, dapo_boxed, strict; repeat it. Default: all."
        ),
    ] = None,
    task: Annotated[str, typer.Option("--task", metavar="NAME", help="For a run: this set only.")] = "",
    step: Annotated[int | None, typer.Option("--step", metavar="N", help="For a run: this step only.")] = None,
    show: Annotated[
        int, typer.Option("--show", metavar="N", min=0, help="Disagreements to print; --json has them all.")
    ] = 10,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Score stored responses again, without a GPU: how many each scorer accepts, and where they disagree.

    Stored evaluations are not changed.
    """
    from dapoctl.cli.live import Ticker
    from dapoctl.evaluation.rescoring import find_files, read_responses
    from dapoctl.evaluation.rescoring import rescore as judge
    from dapoctl.runs.store import runs_root
    from dapoctl.tasks.scorers import SCORERS, check_scorer

    names = [check_scorer(name) for name in scorer or SCORERS]
    results = []
    for path in find_files(source, runs_root(runs_dir), task, step):
        responses = read_responses(path)
        _warn_of_damage(responses)
        ticker = Ticker(sys.stderr, path.name if Path(source).expanduser() == path else "/".join(path.parts[-3:-1]))
        with ticker.shown():
            results.append(judge(responses, names, progress=ticker.tell))
    if json:
        emit_json([as_dict(result) for result in results])
        return
    for index, result in enumerate(results):
        emit("\n".join([*([""] if index else []), *page(result, show)]))


def _warn_of_damage(responses: Responses) -> None:
    if responses.damaged:
        numbers = ", ".join(map(str, responses.damaged[:5])) + (", ..." if len(responses.damaged) > 5 else "")
        warn(
            f"{responses.path}: {len(responses.damaged)} lines without a response and an answer are left out: line {numbers}"
        )


def as_dict(result: Rescored) -> dict[str, Any]:
    """Everything about one file."""
    return {
        "file": str(result.responses.path),
        "responses": len(result.responses.rows),
        "damaged_lines": result.responses.damaged,
        "counts": result.counts(),
        "right_alone": [{"scorers": [a, b], a: one, b: other} for a, b, one, other in result.pairs()],
        "disagreements": result.disagreements(),
    }


def page(result: Rescored, show: int) -> list[str]:
    """Counts, pairs and the first `show` disagreements as text."""
    from dapoctl.views.numbers import percent
    from dapoctl.views.tables import aligned

    counts, total = result.counts(), len(result.responses.rows)
    rows = [("SCORER", "RIGHT", *(name.upper() for name in list(next(iter(counts.values())))[1:]), "SHARE RIGHT")]
    for name, count in counts.items():
        rows.append((name, *map(str, count.values()), percent(count["right"] / total)))
    lines = [f"{one_line(str(result.responses.path))}: {total:,} responses", "", *aligned(rows), ""]
    for first, second, one, other in result.pairs():
        lines.append(f"right by {first} alone {one}, by {second} alone {other}")
    disagreements = result.disagreements()
    width = max(8, 2 + max(map(len, counts)))
    lines += ["", f"disagreements: {len(disagreements)}"]
    for response in disagreements[:show]:
        head = f"{response['problem']}, sample {response['sample']}, answer {_short(str(response['answer']), 40)}"
        lines.append(f"  {one_line(head)}")
        for name, verdict in response["verdicts"].items():
            extracted = "" if verdict["extracted"] is None else f"  {_short(verdict['extracted'], 80)}"
            lines.append(f"    {name:<{width}}{verdict['outcome']:<11}{extracted}".rstrip())
    if len(disagreements) > show:
        lines.append(f"  ... and {len(disagreements) - show} more: --show {len(disagreements)}, or --json")
    return lines


def _short(text: str, size: int) -> str:
    line = one_line(text)
    return line if len(line) <= size else line[: size - 3] + "..."
