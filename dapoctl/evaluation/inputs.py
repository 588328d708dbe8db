"""What a run reads, looked at before there is a run: its problems, its evaluation sets, its model. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from dapoctl.components.pipeline import Pipeline
from dapoctl.config import RunConfig
from dapoctl.doctor.source import hub_config
from dapoctl.errors import DapoctlError, UserError
from dapoctl.evaluation.run_sets import run_sources
from dapoctl.models import kind_of, locate

WEIGHTS = ("*.safetensors", "*.bin")


def check_inputs(config: RunConfig, pipeline: Pipeline) -> None:
    """Refuse a run whose model or data is not there or cannot be read. Only first rows are read, and the hub is asked for a
    model that is not in the local cache, for some seconds.

    Raises:
        UserError: one line for each problem, naming key, value and fix.
    """
    problems = input_problems(config, pipeline) or [hub_problem(config.model.path)]
    if any(problems):
        raise UserError("\n".join(problems))


def input_problems(config: RunConfig, pipeline: Pipeline) -> list[str]:
    """What is wrong with the run's model and data, in words; nothing is asked of the hub."""
    model = model_problem(config.model.path)
    return [*([model] if model else []), *data_problems(config, pipeline)]


def data_problems(config: RunConfig, pipeline: Pipeline) -> list[str]:
    """What is wrong with the problems to train on and with the evaluation sets, in words."""
    found: list[str] = []
    try:
        for name in pipeline.providers("load_problems"):
            pipeline.components[name].check_data("train")
    except DapoctlError as error:
        found.append(str(error))
    try:
        for source in run_sources(config, pipeline):
            source.check_data()
    except DapoctlError as error:
        # The held-out part of the same file.
        if not any(problem in str(error) for problem in found):
            found.append(str(error))
    return found


def model_problem(path: str) -> str:
    """Why there is no model at `model.path`, in words; empty if there is one, or if the hub has to be asked."""
    source, kind = Path(locate(path)).expanduser(), kind_of(path)
    if kind == "folder":
        if not (source / "config.json").is_file():
            return (
                f"`model.path` = {path!r}: the folder has no config.json, so it is not a model in transformers format; name a"
                " folder that `save_pretrained` wrote, a .gguf file or a hub name (owner/name)"
            )
        if not any(next(source.glob(pattern), None) for pattern in WEIGHTS):
            return f"`model.path` = {path!r}: the folder has no weights; put the model's *.safetensors there"
    if not kind:
        looked = f"no such folder or .gguf file (looked in {Path.cwd()})"
        return f"`model.path` = {path!r}: {looked}, and not a hub name (owner/name)"
    return ""


def hub_problem(path: str) -> str:
    """Why a hub model can neither be had from the cache nor from the hub, in words; empty for other models."""
    if kind_of(path) != "hub":
        return ""
    file, why = hub_config(path)
    if file is not None:
        return ""
    return (
        f"`model.path` = {path!r}: there is no such folder, the model is not in the local cache, and {why}; check the name, or"
        f" fetch it where there is a network: hf download {path}"
    )
