"""What is evaluated: a run's checkpoint, or a model that no run trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dapoctl.components.base import PROVIDES
from dapoctl.config.load import Layers, flatten, parse_override
from dapoctl.config.resolve import load
from dapoctl.config.schema import KEYS, RunConfig
from dapoctl.errors import ConfigError, UserError, validation_message
from dapoctl.evaluation.summary import fingerprint
from dapoctl.models import kind_of, locate
from dapoctl.runs.checkpoints import checkpoints, latest, step_of
from dapoctl.runs.ownership import not_my_run
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import EVALUATION, RunSummary, read_record
from dapoctl.tasks.problem_sets import DATA_TASK, find_set

OF_TRAINING = {"optim": {"master_weights"}, "train": {"offload_weights", "offload_activations"}}
"""Keys by table that save a GPU's memory while weights are updated"""
OPTIONS = {"problem_field", "answer_field", "instruction", "scorer"}
"""Parameters of math problems that are options of `dapoctl eval`"""


@dataclass(frozen=True, slots=True)
class Target:
    """A model with its weights, and where its evaluations are kept."""

    config: RunConfig
    model: str
    """Path or hub name, as in a summary"""
    run: Path | None = None
    """The run that trained it; None for other models, whose evaluations get their own folder"""
    step: int = 0
    """Of the checkpoint; 0 for the model before training"""
    weights: Path | None = None
    """The checkpoint's model folder; None for the model's own weights"""
    mark: str = ""
    """Distinguishes weights with the same model and step"""


def find_target(
    text: str,
    root: Path,
    step: int | None = None,
    engine: str | None = None,
    settings: Sequence[str] = (),
    task: str = "",
) -> Target:
    """The run or model that `text` names; a shipped model or an existing path wins over a run of the same name.

    Args:
        text: a run as in `find_run`, a local folder or GGUF file, a hub name, `tiny`
        root: the run store
        step: the checkpoint; None for the latest
        engine: the engine's name; None for the run's own
        settings: `--set` of the model, the device, the engine and the task
        task: the task whose parameters `settings` may change

    Raises:
        UserError: neither a run nor a model, or no such checkpoint.
    """
    if _is_model(text):
        return _model(text, step, engine, settings, task)
    try:
        directory = find_run(root, text)
    except UserError as error:
        if kind_of(text) == "hub":
            return _model(text, step, engine, settings, task)
        raise UserError(
            f"{error} There is no model of that name either: give a folder, or a hub name (owner/name)"
        ) from None
    return _run(directory, step, engine, settings, task)


def _is_model(text: str) -> bool:
    """Whether `text` names a model on this machine."""
    return kind_of(text) == "gguf" or (Path(locate(text)).expanduser() / "config.json").is_file()


def _model(text: str, step: int | None, engine: str | None, settings: Sequence[str], task: str) -> Target:
    if step:
        raise UserError(f"--step {step}: `{text}` is a model, not a run, so it has no checkpoints")
    path = Path(text).expanduser()
    known = locate(text) != text
    model = str(path.resolve()) if path.exists() and not known else text
    engine = engine or str(RunConfig.model_fields["engine"].default)
    own = _own_table(task)
    _check_settings(settings, engine, own)
    asked = own if any(own in parse_override(setting) for setting in settings) else None
    config = load([], settings, {"model": model, "engine": engine, "task": asked}).config
    return Target(config, model, mark="" if known else fingerprint(model))


def _run(directory: Path, step: int | None, engine: str | None, settings: Sequence[str], task: str) -> Target:
    record = read_record(directory)
    if record.problem:
        raise UserError(f"`{directory}` cannot be evaluated: {record.problem}")
    if record.spec.get("kind") == EVALUATION:
        return _model(str(record.config.get("model", {}).get("path", "")), step, engine, settings, task)
    layers = Layers()
    layers.add(record.config, f"{directory}/spec.json")
    given, engine = engine, engine or str(record.config.get("engine", "hf"))
    _check_settings(settings, engine, _own_table(task, record))
    for setting in settings:
        layers.add(parse_override(setting), "--set")
    config = _config({**layers.values, "engine": engine}, str(directory))
    _check_trust(directory, config, given, settings)
    chosen = _checkpoint(directory, step)
    weights = chosen / "model" if chosen else None
    return Target(
        config,
        config.model.path,
        directory,
        step_of(chosen) if chosen else 0,
        weights,
        f"step_{step_of(chosen)}" if chosen else "",
    )


def _check_trust(directory: Path, config: RunConfig, given: str | None, settings: Sequence[str]) -> None:
    """Refuse to run what another user's run asks for: code that comes with a model, and engines in files."""
    said = any(setting.strip().startswith("model.trust_remote_code") for setting in settings)
    asked = config.model.trust_remote_code and not said
    engine_asked = given is None and ".py" in config.engine
    if (asked or engine_asked) and (why := not_my_run(directory)):
        what, option = "code that comes with its model", "--set model.trust_remote_code=true (or false)"
        if engine_asked:
            what, option = f"the engine `{config.engine}`", "--engine NAME"
        raise UserError(
            f"run `{directory.name}` wants to run {what}, and it is not yours alone: {why}; {option} decides"
        )


def _checkpoint(directory: Path, step: int | None) -> Path | None:
    """The checkpoint's folder; None for the model before training, which `--step 0` asks for."""
    if step == 0:
        return None
    saved = checkpoints(directory)
    chosen = latest(directory) if step is None else saved.get(step)
    if chosen is not None:
        return chosen
    if not saved:
        raise UserError(f"run `{directory.name}` has no checkpoint; --step 0 evaluates the model before training")
    raise UserError(f"--step {step}: run `{directory.name}` has checkpoints of the steps {', '.join(map(str, saved))}")


def _config(values: Mapping[str, Any], source: str) -> RunConfig:
    """The configuration without building its components: those of the run need not be installed to evaluate it.

    What only training needs a GPU for is left out: the evaluation may be on another machine.
    """
    core = {key: value for key, value in values.items() if key in KEYS}
    for table, keys in OF_TRAINING.items():
        if isinstance(core.get(table), dict):
            core[table] = {key: value for key, value in core[table].items() if key not in keys}
    tables = {key: value for key, value in values.items() if key not in KEYS and isinstance(value, dict)}
    try:
        return RunConfig(**core, components=tables)
    except ValidationError as error:
        raise ConfigError(f"{source}: {validation_message(error, RunConfig)}") from None


def _check_settings(settings: Sequence[str], engine: str, task: str) -> None:
    allowed = [name for name in ("model", "train", engine, task) if name]
    for setting in settings:
        ((table, value),) = parse_override(setting).items()
        if table == DATA_TASK and isinstance(value, dict) and (named := OPTIONS & value.keys()):
            option = min(named).replace("_", "-")
            raise UserError(f"--set {setting}: in an evaluation that is the option --{option}")
        if table not in allowed or setting.strip().startswith("model.path"):
            raise UserError(
                f"--set {setting}: an evaluation takes keys of {', '.join(allowed)}, and the model's path is the argument"
            )


def _own_table(task: str, record: RunSummary | None = None) -> str:
    """The table with the parameters of the task that is evaluated; empty for problem sets, which have options instead."""
    known = find_set(task)
    name = known.task if known is not None else task
    if record is not None and name == record.config.get("task"):
        # A task in a file is named otherwise in its run.
        parts = dict(record.spec.get("pipeline", {}))
        name = next((part for part in parts if parts[part].get("hooks", {}).get("score_response") == PROVIDES), name)
    return "" if name == DATA_TASK else name


def recorded_config(target: Target) -> dict[str, Any]:
    """The configuration stored in the folder of a model that no run trained: it has no training steps."""
    return {**flatten(target.config), "steps": 0}
