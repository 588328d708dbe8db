"""`dapoctl compare`: did it help, or is it noise?"""

from typing import Annotated

import typer

from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import emit, emit_json
from dapoctl.errors import UserError

Task = Annotated[
    str, typer.Option("--task", "-t", metavar="SET", help="The evaluation set: aime24, math500, a file's stem, ...")
]
StatisticsSeed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Of the bootstrap; the same seed prints the same.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare")(compare)


def one_format(**asked: bool) -> None:
    """Refuse several output formats at once.

    Raises:
        UserError: more than one was asked for.
    """
    chosen = [f"--{name}" for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)}: choose one format")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN[@STEP]...", help="The baseline, then the others; by default of the newest step."),
    ],
    task: Task,
    seed: StatisticsSeed = 0,
    problem: Annotated[
        str | None, typer.Option("--problem", metavar="ID", help="Show the responses of two runs to this problem.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=0, help="With --problem: which response, from 0.")
    ] = None,
    only_different: Annotated[
        bool, typer.Option("--only-different", help="Of the problems, those that differ from the baseline.")
    ] = False,
    solved: Annotated[
        str | None, typer.Option("--solved", metavar="LETTER", help="Of the problems, those that this one solves.")
    ] = None,
    never: Annotated[
        str | None, typer.Option("--never", metavar="LETTER", help="Of the problems, those that this one never solves.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, help="Problems to show at most.")] = 40,
    runs_dir: RunsDir = None,
    json: Json = False,
    markdown: Markdown = False,
    csv: Csv = False,
) -> None:
    """Compare evaluations of one set, paired by problem: what differs, and is it noise?

    Runs are called A (the baseline), B, C, ... in the order given.
    `compare last@0 last` asks what training did; B may be at any step.
    What is unlike besides the models is named: prompt, k, scorer, ...
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
        raise UserError("--sample chooses a response to one problem: name the problem by --problem ID")
    if problem is not None and (markdown or csv):
        raise UserError("--problem shows responses as text, or with --json")
    if len(runs) < 2:
        raise UserError(f"`{runs[0]}`: name a run to compare it with; `{runs[0]}@0 {runs[0]}` asks what training did")
    found = compare_runs(runs_root(runs_dir), runs, task, seed)
    if problem is not None:
        from dapoctl.cli.transcripts import show

        show(found, problem, sample, json)
        return
    labels = [side.label for side in found.sides]
    lines = select(found.matrix, only_different, _place(solved, labels, "--solved"), _place(never, labels, "--never"))
    if json:
        emit_json(comparison_export.comparison_values(found, lines))
    elif markdown:
        emit(comparison_export.comparison_markdown(found, lines[:rows]))
    elif csv:
        emit(comparison_export.comparison_csv(found))
    else:
        columns = width()
        emit(laid_out(page(found, lines, rows, columns), columns))


def _place(letter: str | None, labels: list[str], option: str) -> int | None:
    if letter is None:
        return None
    if letter.upper() not in labels:
        raise UserError(f"{option} {letter}: name one of {', '.join(labels)}, in the order of the runs")
    return labels.index(letter.upper())
