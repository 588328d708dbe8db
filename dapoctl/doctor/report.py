"""Everything that is known before a run, in one report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dapoctl.doctor.accelerator import Build, build_of, check_accelerator
from dapoctl.doctor.advice import ROOM, Advice, advise, waste
from dapoctl.doctor.checks import Check, failed
from dapoctl.doctor.engine import other_engines, packages_of
from dapoctl.doctor.gpus import KnownGpu
from dapoctl.doctor.hours import Assumptions, Hours, hours
from dapoctl.doctor.machine import GIB, Machine, busy_words, look
from dapoctl.doctor.memory import Estimate, estimate
from dapoctl.doctor.packages import check_packages
from dapoctl.doctor.plan import Plan, check_disk, check_plan, fits, plan_of
from dapoctl.doctor.source import Model, find_model
from dapoctl.doctor.workload import Workload
from dapoctl.runs.amounts import byte_size

if TYPE_CHECKING:
    from dapoctl.components.base import Component
    from dapoctl.components.pipeline import Pipeline
    from dapoctl.config import RunConfig
    from dapoctl.engines.needs import Package
    from dapoctl.runs.jobs.gpus import Gpu


@dataclass
class Report:
    """What `dapoctl doctor` found."""

    environment: list[Check]
    model: Model
    plan: Plan
    run: list[Check] = field(default_factory=list)
    """About the planned run"""
    memory: Estimate | None = None
    """None if the model's shape is unknown"""
    capacity: int = 0
    """Bytes that the run may take"""
    advice: list[Advice] = field(default_factory=list)
    hours: Hours | None = None
    """Of the run on a GPU that is known by name; None without one"""

    @property
    def ok(self) -> bool:
        """Whether nothing was found that would make the run fail."""
        return not failed([*self.environment, *self.run])


def examine(
    config: RunConfig,
    pipeline: Pipeline,
    runs: Path,
    gpu_gib: float | None = None,
    gpu_known: KnownGpu | None = None,
    known_model: Model | None = None,
) -> Report:
    """Look at the machine, the packages and the run.

    Args:
        runs: where runs are kept
        gpu_gib: memory of a GPU to assume instead of this machine's devices
        gpu_known: a GPU to assume, and to estimate the run's time on
        known_model: what an earlier report found of the same model
    """
    if gpu_gib is None and gpu_known is not None:
        gpu_gib = gpu_known.gib
    machine, build = look(), build_of("torch")
    model = known_model or find_model(config.model.path, config.model.trust_remote_code)
    engine = _engine(pipeline)
    environment = check_packages(_needed(config), engine.name, _packages(engine))
    environment += [*check_accelerator(build, machine, config.train.device), _memory(machine)]
    gpu = None if gpu_gib is not None else _gpu(config, machine, build)
    if gpu is None and gpu_gib is None and (words := busy_words("cpu", config.train.threads)):
        environment.append(Check("load", "warn", words, "--set train.threads=1"))
    report = Report(environment, model, plan_of(config, pipeline, "cuda" if gpu or gpu_gib else "cpu"))
    if model.problem:
        wrong = not model.loadable and gpu_gib is None
        report.run.append(Check("model", "fail" if wrong else "note", model.problem, model.fix))
    work = _workload(config, pipeline, model, int(gpu_gib * GIB) if gpu_gib is not None else gpu.total if gpu else 0)
    report.run += check_plan(config, report.plan, work)
    if gpu_gib is None:
        report.run.append(check_disk(config, work, runs))
    if work is not None:
        report.memory = estimate(work)
        if gpu_known is not None:
            report.hours = hours(work, report.plan, report.memory, gpu_known)
        report.capacity = work.gpu_memory if gpu_gib is not None else gpu.free if gpu else machine.memory_free
        _judge(report, work, _where(gpu, gpu_gib), machine, gpu)
    return report


def _engine(pipeline: Pipeline) -> Component:
    (name,) = pipeline.providers("build_engine")
    return pipeline.components[name]


def _packages(engine: Component) -> dict[str, list[Package]]:
    """Packages by engine: the run's engine first, then the other installed ones."""
    owners = [(engine.name, type(engine)), *other_engines(engine.name)]
    return {name: packages_of(cls) for name, cls in owners}


def _needed(config: RunConfig) -> list[str]:
    needed = ["peft"] if config.lora.rank else []
    return needed + (["gguf", "accelerate"] if config.model.path.endswith(".gguf") else [])


def _memory(machine: Machine) -> Check:
    text = (
        f"{machine.memory_free / GIB:.1f} of {machine.memory / GIB:.1f} GiB of memory free, {machine.cpus} processors"
    )
    if machine.cpu_quota is not None and machine.cpu_quota < machine.cpus:
        quota = max(1, round(machine.cpu_quota))
        text += f", of which this container gets the time of {machine.cpu_quota:g}"
        return Check("machine", "warn", text, f"--set train.threads={quota}")
    return Check("machine", "ok", text)


def _gpu(config: RunConfig, machine: Machine, build: Build | None) -> Gpu | None:
    """The GPU that the run would use."""
    device = config.train.device
    if device == "cpu" or not machine.gpus or (device == "auto" and (build is None or build.cuda is None)):
        return None
    _, _, number = device.partition(":")
    index = int(number or 0)
    return machine.gpus[index] if index < len(machine.gpus) else None


def _workload(config: RunConfig, pipeline: Pipeline, model: Model, gpu_memory: int) -> Workload | None:
    if model.shape is None or model.parameters is None or model.decoder is None:
        return None
    device: Literal["cpu", "cuda"] = "cuda" if gpu_memory else "cpu"
    penalties = len(pipeline.providers("regularize_vocab"))
    return Workload(
        config=config,
        shape=model.shape,
        parameters=model.parameters,
        decoder=model.decoder,
        engine=_engine(pipeline),
        device=device,
        gpu_memory=gpu_memory,
        compares=bool(penalties) or pipeline.uses("ref_logprobs"),
        vocab_penalties=penalties,
    )


def _where(gpu: Gpu | None, gpu_gib: float | None) -> str:
    if gpu_gib is not None:
        return f"a GPU of {gpu_gib:g} GiB"
    return f"GPU {gpu.index}" if gpu else "memory"


def _judge(report: Report, work: Workload, where: str, machine: Machine, gpu: Gpu | None) -> None:
    """Add whether the run fits, and advice."""
    assert report.memory is not None
    peak, capacity = report.memory.peak, report.capacity
    free = "free " if gpu or where == "memory" else ""
    text = f"about {byte_size(peak)} of the {byte_size(capacity)} {free}in {where}"
    if report.memory.unknown:
        text += f", without what engine `{work.engine.name}` takes: that is not estimated"
    if fits(work, report.memory, capacity, ROOM):
        report.run.append(Check("fits", "ok", text))
        report.advice += waste(work, capacity)
        return
    if fits(work, report.memory, capacity):
        report.run.append(Check("fits", "warn", f"tightly: {text}"))
    elif peak > capacity:
        roomier = [other for other in machine.gpus if gpu and other is not gpu and peak <= ROOM * other.free]
        fix = f"CUDA_VISIBLE_DEVICES={roomier[0].index} has room" if roomier else ""
        report.run.append(Check("does not fit", "fail", text, fix))
    proposal = advise(work, capacity)
    report.advice += [proposal] if proposal else []


def as_dict(report: Report) -> dict[str, Any]:
    """The report for programs."""
    from dataclasses import asdict

    memory = report.memory
    plan = asdict(report.plan)
    for name in ("responses_per_step", "responses", "eval_responses"):
        plan[name] = getattr(report.plan, name)
    model = asdict(report.model)
    del model["decoder"]
    if report.model.parameters is not None:
        model["parameters"]["exact"] = True
    return {
        "ok": report.ok,
        "environment": [asdict(check) for check in report.environment],
        "model": model,
        "plan": plan,
        "run": [asdict(check) for check in report.run],
        "memory": memory and {**asdict(memory), "peak": memory.peak, "capacity": report.capacity},
        "hours": report.hours
        and {**asdict(report.hours), "total": report.hours.total, "assumed": Assumptions().words()},
        "advice": [{"set": advice.options(), "peak": advice.peak, "why": advice.why} for advice in report.advice],
    }
