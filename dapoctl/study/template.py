"""A new `study.toml`: what is compared is filled in, what must be decided is explained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dapoctl.config.toml_literals import literal
from dapoctl.errors import UserError
from dapoctl.study.schema import NAME

TEMPLATE = """\
# A study: what is compared, with how many seeds, and by what it is decided.
#
#   dapoctl study plan {file}     # the runs, and what speaks against them
#   dapoctl study power {file}    # what they would detect, once two runs of one arm are there, or with --deviation
#   dapoctl study run {file}      # may be killed at any moment, and goes on
#   dapoctl study report {file}
[study]
name = {name}
question = "Does it help?"
config = {config}
# budget_hours = 12

# What every run has in common, in the form of a run's own file.
[base]
steps = 40

# With a single update from a step's responses every ratio is 1, and clipping does nothing.
[base.optim]
updates = 4

[base.eval]
every = 10
limit = 256
k = 4

# The last step is compared: no checkpoint is chosen by what is measured.
[base.checkpoint]
every = 0
keep_best = 0

# What it is decided by: one primary outcome at least. `smallest` is the smallest difference worth knowing.
[outcome.middle]
title = "held-out accuracy, mean over the steps"
metric = "eval/{set}/avg@4"
area = [0, 40]
role = "primary"
smallest = 0.03

[outcome.last]
title = "held-out accuracy, last step"
metric = "eval/{set}/avg@4"
at = "last"

[outcome.length]
title = "response length, last ten steps"
metric = "response/length_mean"
at = "last"
over = 10
better = "lower"

# Arms: every key of a run may stand in one. `from` begins with another arm, `against` says what it is compared with.
{arms}
# A control that must not gain.
[arm.random_reward]
from = {baseline}
against = {baseline}
role = "placebo"
plugins = ["random_reward"]

[design]
baseline = {baseline}
arm_seeds = [1, 2, 3, 4, 5]
"""


def new_study(name: str, file: str, arms: Mapping[str, Sequence[str]], configs: Sequence[str], set_: str) -> str:
    """The text of a study.

    Args:
        name: of the study
        file: where it will be, for the commands in it
        arms: plugins by arm; the first one is the baseline
        configs: TOML files that every run begins with
        set_: the set that the runs are evaluated on

    Raises:
        UserError: a name is not one.
    """
    for wrong in (each for each in (name, *arms) if not re.match(NAME, each)):
        raise UserError(
            f"{wrong!r}: a name has letters, digits, `_`, `.`, `+` and `-`, at most 40, a letter or digit first"
        )
    tables = [f"[arm.{_key(arm)}]\nplugins = {literal([*plugins])}\n" for arm, plugins in arms.items()]
    return TEMPLATE.format(
        name=literal(name), file=file, config=literal([*configs]), arms="\n".join(tables),
        baseline=literal(next(iter(arms))), set=set_,
    )  # fmt: skip


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else literal(name)
