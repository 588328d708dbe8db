"""`dapoctl runs verify`: is everything in the store what was written?"""

from typing import Annotated

import typer

from dapoctl.cli.options import Json, RunsDir
from dapoctl.cli.output import emit, emit_json
from dapoctl.cli.runs import group


@group.command("verify")
def verify(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs as in `runs show`; default: all of the store.")
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Check runs and their checkpoints against their manifests, byte by byte. Exit code 1: something is damaged.

    A checkpoint that was written without a manifest is unverified.
    """
    from dapoctl.runs.index import run_directories
    from dapoctl.runs.store import find_run, runs_root
    from dapoctl.runs.verify import DAMAGED
    from dapoctl.runs.verify import verify as verify_run
    from dapoctl.views.verify_table import verify_lines, verify_values

    root = runs_root(runs_dir)
    directories = [find_run(root, name) for name in runs] if runs else run_directories(root)
    findings = [finding for directory in dict.fromkeys(directories) for finding in verify_run(directory)]
    damaged = sum(finding.state == DAMAGED for finding in findings)
    if json:
        emit_json([verify_values(finding) for finding in findings])
    elif not findings:
        emit(f"no runs in {root}", to_error=True)
    else:
        emit("\n".join(verify_lines(findings)))
        emit(f"{damaged} damaged" if damaged else "nothing is damaged", to_error=True)
    if damaged:
        raise typer.Exit(1)
