"""`dapoctl compare`: did it help, or is it noise?"""

from typing import Annotated

import typer

from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import emit, emit_json
from dapoctl.errors import UserError

Task = Annotated[
    str,
    typer.Option("--task", "-t", metavar="SET", help="The evaluation set: aime24, math500, a file's stem, ..."),
]
StatisticsSeed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Seed of the bootstrap; the same seed gives the same output.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare")(compare)


def one_format(**requested: bool) -> None:
    """Refuse several output formats at once.

    Raises:
        UserError: more than one was requested.
    """
    chosen = [f"--{name}" for name, given in requested.items() if given]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)}: choose one format")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN[@STEP]...", help="The baseline, then the others; default: the newest evaluated step."
        ),
    ],
    task: Task,
    seed: StatisticsSeed = 0,
    problem: Annotated[
        str | None, typer.Option("--problem", metavar="ID", help="Show the responses of two runs to this problem.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=0, help="With --problem: index of the response, from 0.")
    ] = None,
    only_different: Annotated[
        bool, typer.Option("--only-different", help="Show only problems that differ from the baseline.")
    ] = False,
    solved: Annotated[
        str | None, typer.Option("--solved", metavar="LETTER", help="Show only problems that this run solves.")
    ] = None,
    never: Annotated[
        str | None, typer.Option("--never", metavar="LETTER", help="Show only problems that this run never solves.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, help="Show at most N problems.")] = 40,
    runs_dir: RunsDir = None,
    json: Json = False,
    markdown: Markdown = False,
    csv: Csv = False,
) -> None:
    """Compare evaluations of one set, paired by problem: what differs, and is it noise?

    Runs are called A (the baseline), B, C, ... in the order given.
    `compare last@0 last` shows what training did; any step can be given.
    Differences other than the models are listed: prompt, k, scorer, ...
    `--solved A --never B` lists the problems that B lost.
    """
    from dapoctl.evaluation.compare.comparison import compare as compare_runs
    from dapoctl.evaluation.compare.comparison import select
    from dapoctl.runs.store import runs_root
    from dapoctl.views import comparison_export
    from dapoctl.views.comparison import page
    from dapoctl.views.tables import laid_out
    from dapoctl.views.terminal import width

    one_format(json=json, markdown=markdown, csv=csv)
    if problem is None and sample is not None:
        raise UserError("--sample chooses a response to one problem: name the problem with --problem ID")
    if problem is not None and (markdown or csv):
        raise UserError("--problem shows responses as text, or with --json")
    if len(runs) < 2:
        raise UserError(f"`{runs[0]}`: name a run to compare it with; `{runs[0]}@0 {runs[0]}` shows what training did")
    comparison = compare_runs(runs_root(runs_dir), runs, task, seed)
    if problem is not None:
        from dapoctl.cli.transcripts import show

        show(comparison, problem, sample, json)
        return
    labels = [side.label for side in comparison.sides]
    solved_by, never_by = _side_index(solved, labels, "--solved"), _side_index(never, labels, "--never")
    lines = select(comparison.matrix, only_different, solved_by, never_by)
    if json:
        emit_json(comparison_export.comparison_values(comparison, lines))
    elif markdown:
        emit(comparison_export.comparison_markdown(comparison, lines[:rows]))
    elif csv:
        emit(comparison_export.comparison_csv(comparison))
    else:
        columns = width()
        emit(laid_out(page(comparison, lines, rows, columns), columns))


def _side_index(letter: str | None, labels: list[str], option: str) -> int | None:
    if letter is None:
        return None
    if letter.upper() not in labels:
        raise UserError(f"{option} {letter}: name one of {', '.join(labels)}, in the order of the runs")
    return labels.index(letter.upper())
