"""`dapoctl runs card`: a model card for a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.options import RunsDir
from dapoctl.cli.output import emit
from dapoctl.cli.runs import group


@group.command("card")
def card(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, as in `runs show`.")],
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", min=1, help="Of the checkpoint; default: the latest.")
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="The model's name; default: the run's.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there; default: print it.")
    ] = None,
    runs_dir: RunsDir = None,
) -> None:
    """Write a model card for the hub: what a checkpoint was made from and how, its evaluations with intervals, and its limits.

    Its metadata are in the hub's `model-index` form.
    """
    from dapoctl.errors import UserError
    from dapoctl.runs.checkpoints import checkpoints
    from dapoctl.runs.files import write_text
    from dapoctl.runs.store import find_run, runs_root
    from dapoctl.runs.summary import read_record
    from dapoctl.views.model_card import model_card

    directory = find_run(runs_root(runs_dir), run)
    record = read_record(directory)
    if record.problem:
        raise UserError(f"`{directory}` has no card: {record.problem}")
    steps = sorted(checkpoints(directory))
    if not steps:
        raise UserError(f"run `{directory.name}` has no checkpoint, so there is no model to describe")
    if step is not None and step not in steps:
        raise UserError(
            f"--step {step}: run `{directory.name}` has checkpoints of the steps {', '.join(map(str, steps))}"
        )
    text = model_card(record, steps[-1] if step is None else step, title)
    if output is None:
        emit(text)
        return
    write_text(output, text)
    emit(f"wrote {output}")
