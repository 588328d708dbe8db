"""`dapoctl doctor`: what is wrong with the machine or the run, before it costs hours."""

from typing import Annotated

import typer

from dapoctl.cli.options import ConfigFiles, GpuName, Json, Name, Override, Plugins, Recipe, RunsDir, Seed, resolve_run
from dapoctl.cli.output import emit, emit_json


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor")(doctor)


def doctor(
    config: ConfigFiles = None,
    recipe: Recipe = None,
    plugins: Plugins = None,
    override: Override = None,
    name: Name = None,
    seed: Seed = None,
    runs_dir: RunsDir = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option("--gpu-memory", metavar="GIB", min=1, help="Would it fit a GPU of this size? No GPU is needed."),
    ] = None,
    gpu: GpuName = None,
    json: Json = False,
) -> None:
    """Check the installation, and whether a run fits the machine. Takes the options of `dapoctl run`.

    Exit code 0 if the run can start, 1 if something prevents it.
    """
    from dapoctl.doctor.checks import Check
    from dapoctl.doctor.gpus import find_gpu
    from dapoctl.doctor.report import as_dict, examine
    from dapoctl.evaluation.inputs import data_problems
    from dapoctl.runs.store import runs_root
    from dapoctl.views.doctor import page

    resolved = resolve_run(config, override, recipe, plugins, name, seed)
    known = find_gpu(gpu) if gpu is not None else None
    report = examine(resolved.config, resolved.pipeline, runs_root(runs_dir), gpu_memory, known)
    report.run += [Check("data", "fail", problem) for problem in data_problems(resolved.config, resolved.pipeline)]
    emit_json(as_dict(report)) if json else emit("\n".join(page(report)))
    raise typer.Exit(0 if report.ok else 1)
