"""`dapoctl ablation`: which component matters?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dapoctl.cli.compare import Csv, Markdown, Task, one_format
from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import emit, emit_json
from dapoctl.errors import UserError
from dapoctl.views.terminal import width

if TYPE_CHECKING:
    from dapoctl.evaluation.stored import Evaluation


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("ablation")(ablation)


def ablation(
    task: Task,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN[@STEP]...", help="Runs; include all seeds of each. The first is the baseline."),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="QUERY", help="More runs, as in `runs list`: 'group=sweep-...'."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="RUN[@STEP]", help="A run of the baseline; default: the first run."),
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
    markdown: Markdown = False,
    csv: Csv = False,
) -> None:
    """Compare sets of components with a baseline, each as the mean over its seeds.

    Runs that differ only in seed and name form one row.
    Intervals are clustered by problems and seeds; if a row or the
    baseline has only one seed, for problems only.
    """
    from dapoctl.evaluation.compare.ablation import ablate
    from dapoctl.views import ablation
    from dapoctl.views.tables import laid_out

    one_format(json=json, markdown=markdown, csv=csv)
    names = [*([baseline] if baseline is not None else []), *(runs or []), *_filtered(runs_dir, filter_, task)]
    if not names:
        raise UserError("name runs, or select them with --filter QUERY")
    evaluations, missing = _open(runs_dir, names, task)
    table = ablate(evaluations, evaluations[0], task, missing)
    if json:
        emit_json(ablation.ablation_values(table))
    elif markdown:
        emit(ablation.ablation_markdown(table))
    elif csv:
        emit(ablation.ablation_csv(table))
    else:
        columns = width()
        emit(laid_out(ablation.page(table, columns), columns))


def _filtered(runs_dir: Path | None, query: str | None, task: str) -> list[str]:
    """The ids of the runs that match a query and were evaluated on the set."""
    if query is None:
        return []
    from dapoctl.evaluation.stored import steps_of
    from dapoctl.runs.index import list_runs
    from dapoctl.runs.query import select
    from dapoctl.runs.store import runs_root

    matching = select(list_runs(runs_root(runs_dir)), query)
    evaluated = [run.id for run in matching if steps_of(run.directory, task)]
    if not evaluated:
        raise UserError(f"--filter {query!r}: none of the {len(matching)} matching runs was evaluated on `{task}`")
    return evaluated


def _open(runs_dir: Path | None, names: list[str], task: str) -> "tuple[list[Evaluation], list[tuple[str, str]]]":
    """(evaluations, the baseline's first; those that cannot be read, and why)."""
    from dapoctl.evaluation.stored import open_evaluation
    from dapoctl.runs.store import runs_root

    by_folder: dict[Path, Evaluation] = {}
    missing = []
    for index, name in enumerate(names):
        try:
            evaluation = open_evaluation(runs_root(runs_dir), name, task)
            if not evaluation.rows:
                raise UserError(f"`{evaluation.folder}`: {'; '.join(evaluation.trouble)}")
        except UserError as error:
            if index == 0:
                raise
            missing.append((name, str(error)))
        else:
            by_folder.setdefault(evaluation.folder.resolve(), evaluation)
    return [*by_folder.values()], missing
