"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunsDir = Annotated[
    Path | None,
    typer.Option("--runs-dir", metavar="DIR", help="Where runs are kept; else $DAPOCTL_RUNS, else ./runs."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, its beginning or end, its name, its directory, or `last`.")
]
