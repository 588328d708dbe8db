"""`dapoctl audit`: what a run's reward paid for, by other rules."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import emit, emit_json


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("audit")(audit)


def audit(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, as in `runs show`.")],
    spans: Annotated[int, typer.Option("--spans", metavar="N", min=1, help="Parts to divide the steps into.")] = 8,
    responses: Annotated[
        int, typer.Option("--responses", metavar="N", min=1, help="Responses of each part that are judged.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of which of them.")] = 0,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Judge the responses of a run's training by other rules than its reward's: does it pay for what is wrong?

    Rules are those of the run's components, the scorers of math problems, and the last number. Needs no GPU.
    """
    from dapoctl.cli.live import Ticker
    from dapoctl.evaluation.audit.audit import audit as look
    from dapoctl.runs.store import find_run, runs_root
    from dapoctl.views.audit import page, values
    from dapoctl.views.tables import laid_out
    from dapoctl.views.terminal import width

    directory = find_run(runs_root(runs_dir), run)
    ticker = Ticker(sys.stderr, directory.name)
    with ticker.shown():
        found = look(directory, spans, responses, seed, ticker.tell)
    if json:
        emit_json(values(found))
    else:
        emit(laid_out(page(found, width()), width()))
