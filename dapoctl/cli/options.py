"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dapoctl.cli.output import emit, warn

if TYPE_CHECKING:
    from dapoctl.config.resolve import Resolved

RunsDir = Annotated[
    Path | None,
    typer.Option("--runs-dir", metavar="DIR", help="Where runs are kept; default: $DAPOCTL_RUNS, else ./runs."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, its beginning or end, its name, its directory, or `last`.")
]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option("--config", "-c", metavar="FILE", help="TOML file; repeat it, later files win."),
]
Recipe = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME", help="Components to start from: grpo (the default), dapo, ...")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugins",
        metavar="A,B",
        help="Components that replace or join the recipe's: names, `./idea.py:MyIdea`; `-name` removes one.",
    ),
]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key: steps=50, optim.lr=1e-5, clip_higher.eps_high=0.3."),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Part of the run's id.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of all random numbers.")]
Detach = Annotated[
    bool,
    typer.Option(
        "--detach", help="Run in the background, now; the terminal may be closed. `runs logs` shows its output."
    ),
]
Queue = Annotated[
    bool,
    typer.Option("--queue", help="Wait for a free GPU (without GPUs: a slot), then run in the background."),
]
Priority = Annotated[
    int | None, typer.Option("--priority", metavar="N", help="With --queue: higher goes first; default: 0.")
]
Gpus = Annotated[
    int | None,
    typer.Option("--gpus", metavar="N", min=1, help="With --detach or --queue: number of GPUs; default: 1."),
]
GpuName = Annotated[
    str | None,
    typer.Option(
        "--gpu", metavar="NAME", help="Memory and hours on a GPU that need not be here: h100, a100, l4, rtx4090, ..."
    ),
]
DataFile = Annotated[
    str,
    typer.Option(
        "--data", metavar="FILE", help="A .jsonl or .parquet file with problem and answer, in place of the hub."
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Use the first N problems only.")]
Step = Annotated[
    int | None,
    typer.Option("--step", metavar="N", min=0, help="A run's checkpoint; 0: the model it started from."),
]
ProblemField = Annotated[
    str, typer.Option("--problem-field", metavar="FIELD", help="With --data: the field that holds the question.")
]
AnswerField = Annotated[
    str, typer.Option("--answer-field", metavar="FIELD", help="With --data: the field that holds the answer.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def resolve_run(
    config: list[Path] | None,
    override: list[str] | None,
    recipe: str | None,
    plugins: list[str] | None,
    name: str | None,
    seed: int | None,
) -> "Resolved":
    """The run that the options describe; its warnings are printed.

    Raises:
        UserError: see `dapoctl.config.resolve.load`.
    """
    from dapoctl.config.load import split_names
    from dapoctl.config.resolve import load

    options = {"recipe": recipe, "plugins": split_names(plugins or []), "name": name, "seed": seed}
    resolved = load(config or [], override or [], options)
    for warning in resolved.warnings:
        warn(warning)
    if resolved.added:
        names = ", ".join(resolved.added)
        without = ",".join(f"-{name}" for name in resolved.added)
        emit(f"{names} corrects for the engine: {resolved.why_added}; --plugins {without} leaves it out", to_error=True)
    return resolved
