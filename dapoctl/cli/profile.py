"""`--profile`: its options, and the table of where a step's time went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dapoctl.training.profiling import Steps

Profile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Show where a step's time goes: phases, operators, and a trace of one step. Changes no result.",
    ),
]
ProfileSteps = Annotated[
    str | None,
    typer.Option(
        "--profile-steps",
        metavar="A-B",
        help="The steps to profile; the last one is traced. Default: the second and third after the start.",
    ),
]


def asked_profile(profile: bool, steps: str | None) -> Steps | None:
    """The steps to profile, None for none; `--profile-steps` alone implies `--profile`.

    Raises:
        UserError: the steps cannot be read.
    """
    if not profile and steps is None:
        return None
    from dapoctl.training.profiling import Steps

    return Steps() if steps is None else Steps.parse(steps)
