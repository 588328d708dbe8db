"""`dapoctl sweep`: one run for each combination of values."""

import secrets
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from dapoctl.cli.background import announce
from dapoctl.cli.options import ConfigFiles, Gpus, Json, Name, Override, Plugins, Priority, Recipe, RunsDir, Seed
from dapoctl.cli.output import emit, emit_json, warn
from dapoctl.errors import UserError
from dapoctl.runs.jobs.submit import Background, check, send_off
from dapoctl.views.text import one_line

if TYPE_CHECKING:
    from dapoctl.config.resolve import Resolved

MOST = 1000
"""Runs of a sweep: more is taken for a typing error"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("sweep")(sweep)


def sweep(
    axis: Annotated[
        list[str],
        typer.Option("--axis", metavar="KEY=A,B", help="Values of a key, such as seed=1,2,3; repeat it for a grid."),
    ],
    config: ConfigFiles = None,
    recipe: Recipe = None,
    plugins: Plugins = None,
    override: Override = None,
    name: Name = None,
    seed: Seed = None,
    priority: Priority = None,
    gpus: Gpus = None,
    runs_dir: RunsDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs and queue nothing.")] = False,
    json: Json = False,
) -> None:
    """Queue one run for each combination of values, all in one group: `runs list --filter group=...`.

    Every combination is checked before the first is queued.
    """
    from dapoctl.config.load import split_names
    from dapoctl.config.resolve import load
    from dapoctl.config.sweep import expand, parse_axis, run_names
    from dapoctl.evaluation.inputs import hub_problem, input_problems
    from dapoctl.runs.jobs.create import create, default_name
    from dapoctl.runs.store import runs_root

    points = expand([parse_axis(text) for text in axis])
    if len(points) > MOST:
        raise UserError(f"--axis: {len(points)} combinations are more than {MOST}; take fewer values")
    resolved: list[Resolved] = []
    for point in points:
        options = {"recipe": recipe, "plugins": split_names(plugins or []), "name": name, "seed": None}
        fixed = [f"seed={seed}"] if seed is not None else []
        resolved.append(load(config or [], [*(override or []), *fixed, *point.overrides], options))
    for warning in dict.fromkeys(warning for run in resolved for warning in run.warnings):
        warn(warning)
    first = resolved[0].config
    names = run_names(first.name or default_name(first.recipe, first.plugins), points)
    group = f"sweep-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    if dry_run:
        rows = [{"name": label, "set": list(point.overrides)} for label, point in zip(names, points, strict=True)]
        if json:
            emit_json({"runs": rows})
        else:
            for row in rows:
                emit(one_line(f"{row['name']}   {' '.join(f'--set {text}' for text in row['set'])}"))
        return
    checked: set[str] = set()
    for run in resolved:
        checked.update(input_problems(run.config, run.pipeline))
    # Each model once: the hub may take its time.
    checked.update(map(hub_problem, {run.config.model.path for run in resolved}))
    checked.discard("")
    if checked:
        raise UserError("\n".join(sorted(checked)))
    background = Background(queue=True, priority=priority or 0, gpus=gpus)
    check(background, resolved[0].as_dict())
    directories = []
    for label, run in zip(names, resolved, strict=True):
        run.config.name = label
        directories.append(create(run, runs_root(runs_dir), sys.argv, group).resolve())
    submitted = send_off(directories, background, resolved[0].as_dict(), new=True)
    if json:
        emit_json({"group": group, "runs": submitted})
        return
    announce(submitted, runs_dir)
    emit(f"  {'these':<10}dapoctl runs list --filter group={group}")
