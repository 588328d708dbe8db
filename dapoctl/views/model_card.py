"""A model card for a checkpoint, in the form of the Hugging Face hub: what it was made from and how, and what was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from dapoctl.errors import UserError
from dapoctl.evaluation.audit.audit import last_figures
from dapoctl.evaluation.writer import is_complete, read_summary
from dapoctl.runs.summary import EVALS, RunSummary
from dapoctl.study.outcomes import read_curves
from dapoctl.tasks.problem_sets import find_set
from dapoctl.views.markdown import code, escaped, table
from dapoctl.views.numbers import count, duration, percent

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

AVERAGE = re.compile(r"eval/(?P<set>.+)/(?P<name>avg@(?P<k>\d+))")


def model_card(run: RunSummary, step: int, title: str = "") -> str:
    """The card of a run's checkpoint, with what is stored of its evaluations.

    Args:
        run: with a readable record
        step: of the checkpoint
        title: of the model; by default the run's name
    """
    title = title or run.name or run.id
    parts = [_head(run, step, title), f"# {escaped(title)}", _about(run, step)]
    parts += ["## Results", *_results(run, step), "## Training", *_training(run)]
    if audited := [*_audit(run)]:
        parts += ["## What the reward paid for", *audited]
    parts += ["## Limits", _limits(run), "## To repeat", *_repeat(run)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _head(run: RunSummary, step: int, title: str) -> str:
    from huggingface_hub import ModelCardData

    base = str(run.config.get("model", {}).get("path", ""))
    results = [
        _eval_result(summary, name, value) for summary in _summaries(run, step) for name, value in _averages(summary)
    ]
    values = ModelCardData(
        base_model=base if "/" in base and not Path(base).exists() else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["dapoctl", "reinforcement-learning", *sorted(run.components)],
        model_name=title,
        eval_results=results or None,
    )
    return f"---\n{values.to_yaml()}\n---"


def _eval_result(summary: Mapping[str, Any], name: str, value: float) -> EvalResult:
    from huggingface_hub import EvalResult

    label, data = str(summary["set"]), summary.get("data", {})
    known = find_set(label)
    return EvalResult(
        task_type="text-generation",
        dataset_type=str(data.get("source") or label),
        dataset_name=known.title if known is not None else label,
        # The hub takes results with the same source for the same set otherwise.
        dataset_config=label,
        dataset_split=str(data.get("split")) if data.get("split") else None,
        metric_type=name,
        metric_name=f"{name}, {_protocol(summary)}",
        metric_value=round(value, 4),
    )


def _summaries(run: RunSummary, step: int) -> list[dict[str, Any]]:
    """Of the complete evaluations of a step."""
    read = (read_summary(path) for path in sorted((run.directory / EVALS).glob(f"*/step_{step}")))
    return [summary for summary in read if summary is not None and is_complete(summary) and "set" in summary]


def _averages(summary: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in dict(summary.get("metrics") or {}).items():
        found = AVERAGE.fullmatch(str(name))
        if found is not None and isinstance(value, (int, float)) and math.isfinite(value):
            yield found["name"], float(value)


def _protocol(summary: Mapping[str, Any]) -> str:
    asked = dict(summary.get("protocol") or {})
    words = [f"{key} {asked[key]}" for key in ("temperature", "top_p", "max_tokens", "scorer") if key in asked]
    return ", ".join(words)


def _about(run: RunSummary, step: int) -> str:
    base = str(run.config.get("model", {}).get("path", "?"))
    task = str(run.config.get("task", "?"))
    return (
        f"{code(base)} after {step} steps of reinforcement learning with verifiable rewards on {code(task)}, with"
        f" {', '.join(map(code, run.components))}. Made with dapoctl"
        f" {escaped(str(dict(run.spec.get('versions') or {}).get('dapoctl', '')))}, run {code(run.id)}, seed"
        f" {run.config.get('seed', '?')}."
    )


def _results(run: RunSummary, step: int) -> Iterator[str]:
    before = {str(summary["set"]): dict(_averages(summary)) for summary in _summaries(run, 0)}
    rows = []
    for summary in _summaries(run, step):
        label, metrics = str(summary["set"]), dict(summary.get("metrics") or {})
        for name, value in _averages(summary):
            low, high = (metrics.get(f"eval/{label}/{name}/{end}") for end in ("low", "high"))
            interval = (
                f" [{percent(low)}, {percent(high)}]" if isinstance(low, float) and isinstance(high, float) else ""
            )
            earlier = before.get(label, {}).get(name)
            rows.append([
                code(label), name, f"{percent(value)}{interval}", "" if earlier is None else percent(earlier),
                str(dict(summary.get("data") or {}).get("problems", "?")), escaped(_protocol(summary)),
            ])  # fmt: skip
    if not rows:
        yield f"No evaluation of step {step} is stored: `dapoctl eval {run.id} --task NAME`."
        return
    yield "\n".join(
        table(["set", "metric", "value [95%]", "before training", "problems", "protocol"], rows, left=(0, 1, 5))
    )
    yield "Intervals answer what another set of such problems would show. They say nothing about other training seeds."


def _training(run: RunSummary) -> Iterator[str]:
    config = {key: value for key, value in run.config.items() if key != "name"}
    yield "\n".join(["```toml", tomli_w.dumps(config).strip(), "```"])
    curves = read_curves(run.directory)
    seconds = 3600 * curves.hours[-1]
    yield (
        f"{curves.steps[-1]} steps, {count(curves.tokens[-1])} generated tokens, {duration(seconds)} on"
        f" {escaped(_devices(run))}."
    )
    hashes = [_listed(name, files) for name, files in _files(run)]
    if hashes:
        yield "\n".join(["Inputs, with the beginning of their SHA-256:", "", *hashes])


def _devices(run: RunSummary) -> str:
    """What the run's own evaluations ran on."""
    paths = sorted((run.directory / EVALS).glob("*/step_*"))
    named = [str(name) for path in paths for name in (read_summary(path) or {}).get("devices", ())]
    gpus = [name for name in dict.fromkeys(named) if name != "cpu"]
    return ", ".join(gpus) or f"{dict(run.spec.get('host') or {}).get('cpus', '?')} processors"


def _listed(name: str, files: list[tuple[str, Mapping[str, Any]]]) -> str:
    shown = ", ".join(f"{escaped(file)} {code(str(about.get('sha256', '?'))[:12])}" for file, about in files)
    return f"- {escaped(name)}: {shown}"


def _files(run: RunSummary) -> Iterator[tuple[str, list[tuple[str, Mapping[str, Any]]]]]:
    for name, entry in dict(run.spec.get("inputs") or {}).items():
        files = entry.get("files") if isinstance(entry, Mapping) else None
        if isinstance(files, Mapping) and files:
            yield (
                str(name),
                [(Path(str(file)).name, about) for file, about in files.items() if isinstance(about, Mapping)],
            )


def _audit(run: RunSummary) -> Iterator[str]:
    try:
        figures = last_figures(run.directory)
    except UserError:
        return
    rows = [
        [code(name), percent(found.right.value), percent(found.paid_alone.value)]
        for name, found in figures.rules.items()
    ]
    yield (
        f"Of {figures.responses:,} responses of steps {figures.first} to {figures.last}, {percent(figures.right.value)} were"
        " right by the rule that training used. By other rules:"
    )
    yield "\n".join(table(["rule", "right", "right in training, wrong by this rule"], rows))


def _limits(run: RunSummary) -> str:
    base = str(run.config.get("model", {}).get("path", "?"))
    lines = [
        "One training seed: another one gives other figures.",
        f"Trained to be right on {code(str(run.config.get('task', '?')))} by a verifier; nothing else was asked of it, and"
        " nothing was done for its safety.",
        f"The licence and the limits of {code(base)} hold for it, too.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _repeat(run: RunSummary) -> Iterator[str]:
    yield "\n".join(["```", "dapoctl run --config run.toml    # the configuration above", "```"])
    versions = dict(run.spec.get("versions") or {})
    if versions:
        yield (
            "With " + ", ".join(f"{escaped(str(name))} {escaped(str(value))}" for name, value in versions.items()) + "."
        )
