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
        typer.Argument(
            metavar="RUN[@STEP]...", help="Runs, of several seeds each where there are; the first is the baseline."
        ),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="QUERY", help="More runs, as in `runs list`: 'group=sweep-...'."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="RUN[@STEP]", help="A run of the baseline; by default the first."),
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
    markdown: Markdown = False,
    csv: Csv = False,
) -> None:
    """Compare sets of components with a baseline, each as the mean over its seeds.

    Runs that differ in nothing but seed and name are one row.
    Intervals are clustered by problems and seeds; where a row or the
    baseline has one seed, by problems only.
    """
    from dapoctl.evaluation.compare.ablation import ablate
    from dapoctl.views import ablation
    from dapoctl.views.tables import laid_out

    one_format(json=json, markdown=markdown, csv=csv)
    words = [*([baseline] if baseline is not None else []), *(runs or []), *_filtered(runs_dir, filter_, task)]
    if not words:
        raise UserError("name runs, or ask for them by --filter QUERY")
    found, missing = _open(runs_dir, words, task)
    table = ablate(found, found[0], task, missing)
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
    """The ids of the runs that a query asks for and that were evaluated on the set."""
    if query is None:
        return []
    from dapoctl.evaluation.stored import steps_of
    from dapoctl.runs.index import list_runs
    from dapoctl.runs.query import select
    from dapoctl.runs.store import runs_root

    fits = select(list_runs(runs_root(runs_dir)), query)
    found = [run.id for run in fits if steps_of(run.directory, task)]
    if not found:
        raise UserError(f"--filter {query!r}: of {len(fits)} runs that fit, none was evaluated on `{task}`")
    return found


def _open(runs_dir: Path | None, words: list[str], task: str) -> "tuple[list[Evaluation], list[tuple[str, str]]]":
    """(evaluations, the first of them the baseline's; what cannot be read, and why)."""
    from dapoctl.evaluation.stored import open_evaluation
    from dapoctl.runs.store import runs_root

    found: dict[Path, Evaluation] = {}
    missing = []
    for place, word in enumerate(words):
        try:
            each = open_evaluation(runs_root(runs_dir), word, task)
            if not each.rows:
                raise UserError(f"`{each.folder}`: {'; '.join(each.trouble)}")
        except UserError as error:
            if place == 0:
                raise
            missing.append((word, str(error)))
        else:
            found.setdefault(each.folder.resolve(), each)
    return [*found.values()], missing
