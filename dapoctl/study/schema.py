"""`study.toml`, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from dapoctl.components.settings import Settings
from dapoctl.config.load import read_toml
from dapoctl.errors import ConfigError, nearest, validation_message

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}$"
HOWS = ("at", "area", "reach", "at_tokens", "at_hours", "when")


class About(Settings):
    """What is asked."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")
    """Its runs are in the group `study-NAME`."""
    question: str = Field(min_length=1)
    """In a sentence."""
    config: list[str] = []
    """TOML files that every run begins with, relative to this one."""
    budget_hours: float | None = Field(None, gt=0)
    """Device hours that the plan may take; more is refused once runs have told how long they take."""
    limits: list[str] = []
    """Sentences for the report: what the study cannot say"""
    slots: int | None = Field(None, ge=1)
    """Runs at once on a machine without a GPU, where `DAPOCTL_SLOTS` is not set."""


class Arm(Settings):
    """A configuration that is compared. What is not a key of this table is part of the configuration of its runs."""

    model_config = {"extra": "allow"}

    origin: str = Field("", alias="from")
    """The arm or cell that it begins with; by default the base alone."""
    against: str = ""
    """The arm or cell that it is compared with; by default the design's baseline."""
    role: Literal["", "placebo"] = ""
    """A placebo must not gain, and may be idle."""
    what: str = ""
    """In a few words, for tables."""

    @property
    def changes(self) -> dict[str, Any]:
        """Its part of a run's configuration."""
        return dict(self.model_extra or {})


class Factor(Settings):
    """A part that is off or on; both are parts of a run's configuration, and `plugins` are added to those that are there."""

    off: dict[str, Any] = {}
    on: dict[str, Any]


class Outcome(Settings):
    """A figure of a run: how it is taken from the run's metrics, and what it is for. Exactly one of `at`, `area`, `reach`,
    `at_tokens`, `at_hours` and `when` says how."""

    metric: str = Field(min_length=1)
    """As in `metrics.jsonl`."""
    title: str = ""
    """In tables; by default the outcome's name."""
    role: Literal["primary", "secondary", "guard", "exploratory"] = "secondary"
    """Primary ones decide, and are corrected for each other; a guard is told if it gets worse."""
    better: Literal["higher", "lower"] = "higher"
    smallest: float = Field(0.0, ge=0)
    """The smallest difference worth knowing: the margin of equivalence. 0 for none."""
    at: int | Literal["last"] | None = None
    """The value at this step."""
    over: int = Field(1, ge=1)
    """The mean over this many values up to there, in place of one."""
    area: tuple[int, int] | None = None
    """The mean over the steps from the first to the second, by the trapezoidal rule."""
    reach: float | None = None
    """When the mean over `over` values reaches this, in units of `count`. A run that does not counts as long as all lasted."""
    count: Literal["steps", "tokens", "hours"] = "steps"
    """What it is counted in: steps, generated tokens, or hours of training."""
    at_tokens: float | None = Field(None, gt=0)
    """The value once so many tokens were generated for training, interpolated."""
    at_hours: float | None = Field(None, gt=0)
    """The value after so many hours of training, interpolated."""
    when: str | None = None
    """The value where another metric, such as a divergence, first reaches `level`, interpolated."""
    level: float | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Outcome:
        given = [name for name in HOWS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(HOWS)}; it has {', '.join(given) or 'none'}")
        if (self.when is None) is not (self.level is None):
            raise ValueError("`when` and `level` belong together")
        if self.area is not None and not 0 <= self.area[0] < self.area[1]:
            raise ValueError(f"area = {[*self.area]}: from a step to a later one")
        return self

    @property
    def how(self) -> str:
        """Which of the ways it is."""
        return next(name for name in HOWS if getattr(self, name) is not None)


class EvalSet(Settings):
    """Problems that every finished run is asked once more, as by `dapoctl eval RUN --as NAME`: outcomes see them as
    `eval/NAME/...` at the last step."""

    title: str = ""
    task: str = ""
    """The set or the task; by default its own name."""
    data: str = ""
    """A file or a hub name, as with `--data`; relative to this file."""
    settings: list[str] = Field([], alias="set")
    """As with `--set`: `arithmetic.max_digits=5`."""
    protocol: str | None = None
    k: int | None = Field(None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    limit: int | None = Field(None, ge=1)
    arms: list[str] | None = None
    """Only runs of these arms; by default of all."""


class Pilot(Settings):
    """Runs that tell how much seeds differ, before the plan is carried out."""

    arm: str
    seeds: int = Field(10, ge=2)


class Design(Settings):
    """Which arms are run with which seeds."""

    factorial: list[str] = []
    """Factors of a full two-level design, in the order of the ladder."""
    half: bool = False
    """Only the cells with an even number of factors on: half of the runs. Effects of one and of three factors are then one."""
    none: str = "none"
    """What the cell with every factor off is called"""
    all: str = "all"
    """What the cell with every factor on is called"""
    seeds: list[int] = [1, 2, 3]
    """Of each cell"""
    arms: list[str] | None = None
    """Arms that are run; by default all that are not a beginning of others only"""
    arm_seeds: list[int] = [1, 2, 3, 4, 5]
    """Of each arm"""
    baseline: str = ""
    """What arms are compared with; by default the cell with every factor off"""
    pilot: Pilot | None = None
    paired: bool = False
    """Treat runs of one seed as a pair. They share their first batches; whether that makes them alike later is reported."""

    @field_validator("seeds", "arm_seeds")
    @classmethod
    def _different(cls, seeds: list[int]) -> list[int]:
        if not seeds or len({*seeds}) < len(seeds) or min(seeds) < 0:
            raise ValueError("must be different numbers of 0 or more, at least one")
        return seeds


class Study(Settings):
    """The whole file."""

    study: About
    base: dict[str, Any] = {}
    """The configuration of every run, as in its TOML file."""
    factor: dict[str, Factor] = {}
    arm: dict[str, Arm] = {}
    outcome: dict[str, Outcome]
    set: dict[str, EvalSet] = {}
    """Further problems, for finished runs."""
    design: Design = Design()

    @model_validator(mode="after")
    def _names_fit(self) -> Study:
        for kind, names in (("factor", self.factor), ("arm", self.arm), ("outcome", self.outcome),
                            ("set", self.set)):  # fmt: skip
            if wrong := [name for name in names if not _fits(name)]:
                raise ValueError(f"[{kind}.{wrong[0]}]: a name has letters, digits, `_`, `.`, `+` and `-`, at most 40")
        if not any(outcome.role == "primary" for outcome in self.outcome.values()):
            raise ValueError("no outcome is primary: one says what the study decides by")
        for name in self.design.factorial:
            if name not in self.factor:
                raise ValueError(f"design.factorial names `{name}`, which is no factor.{nearest(name, [*self.factor])}")
        if self.design.half and len(self.design.factorial) < 3:
            raise ValueError("design.half = true: half of a design needs three factors or more")
        return self


def _fits(name: str) -> bool:
    import re

    return re.match(NAME, name) is not None


def read_study(path: Path) -> Study:
    """The study that a file describes.

    Raises:
        ConfigError: it cannot be read, or a key of it is wrong; one line for each.
    """
    values = read_toml(path)
    try:
        return Study(**values)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{validation_message(error, Study)}") from None
