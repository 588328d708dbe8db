"""Evaluating a model in blocks of problems; each block is stored once it is sampled and scored.

A problem's responses are drawn with a seed of its own, and blocks do not depend on what was done before. So an evaluation with
the `hf` engine on a CPU that is interrupted between blocks and continued has exactly the responses of an uninterrupted one. If
a block was interrupted while it was written, or on a GPU, or with vLLM, other sequences in the same batch may change the last
bits of a probability, and so, rarely, a response; the distribution never changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapoctl.batch import Problem
from dapoctl.doctor.machine import busy_words
from dapoctl.engines import Completion, Engine, Sampling
from dapoctl.engines.scoring import Scoring
from dapoctl.errors import DapoctlError, ModelError, RunWarning, UserError
from dapoctl.evaluation.during_training import prefixed, rows_of
from dapoctl.evaluation.engine import start_engine, with_room
from dapoctl.evaluation.plan import Job
from dapoctl.evaluation.protocol import Protocol
from dapoctl.evaluation.statistics.pass_at_k import summarize
from dapoctl.evaluation.summary import device_name
from dapoctl.evaluation.writer import EvaluationWriter, claimed, stored_rows
from dapoctl.models import kind_of
from dapoctl.runs.inputs import revision
from dapoctl.runs.interrupt import Stopper, StopRequested
from dapoctl.runs.record import RunRecord

if TYPE_CHECKING:
    from dapoctl.models.policy import Policy

BLOCK = {"cpu": 64}
"""Responses of a block, by kind of device: the most that an interruption can lose"""
LARGE_BLOCK = 512

Progress = Callable[[str, int, int], None]
"""(phase, done, total) in responses; `done` includes responses stored earlier"""


@dataclass
class Outcome:
    """The outcome of an evaluation."""

    summary: dict[str, Any]
    state: str
    """finished or stopped"""
    done: int
    """Problems whose responses are stored"""
    resumed: int
    """Of these, the problems that were stored earlier"""


def evaluate(job: Job, progress: Progress) -> Outcome:
    """Sample and score what is missing; Ctrl-C stops it, and finished blocks stay stored.

    Raises:
        DapoctlError: the model, the engine or the store is not available, or another process does the same evaluation.
    """
    stopper = Stopper(lambda: progress("stop", 0, 0), "quit at once; finished blocks are stored")
    outcome = Outcome({}, "stopped", 0, 0)
    with _attempt(job) as attempt, claimed(job.folder), stopper.installed():

        def tell(phase: str, done: int, total: int) -> None:
            attempt.note(phase, done, total)
            progress(phase, done, total)

        try:
            _work(job, stopper, tell, outcome)
            outcome.state = "finished"
        except StopRequested:
            pass
        finally:
            attempt.state = outcome.state
            job.source.pipeline.close()
    return outcome


def _work(job: Job, stopper: Stopper, tell: Progress, outcome: Outcome) -> None:
    """Sample what is missing, and compute the metrics; `outcome` is filled in even if this raises."""
    writer = EvaluationWriter(job.folder, job.wanted, job.again)
    outcome.resumed = len(writer.done)
    try:
        if len(writer.done) < len(job.problems):
            check_rule(stored_rows(job.folder) if writer.done else (), job.protocol.scorer, job.folder)
            _sample(job, writer, stopper, tell)
        rows = stored_rows(job.folder)
        metrics = prefixed(job.wanted["set"], summarize(rows, job.protocol.k))
        unasked = {row["problem"] for row in rows if not row["tokens"] and row["truncated"]}
        with stopper.protected():
            writer.finish(metrics, len(unasked))
    finally:
        outcome.summary, outcome.done = writer.summary, len(writer.done)
        writer.close()


def check_rule(rows: Iterable[Mapping[str, Any]], scorer: str, folder: Path) -> None:
    """Stored responses were judged by the rule that judges the rest.

    Raises:
        UserError: `math` judged them before it asked for a mark.
    """
    if scorer == "math" and any("marked" not in row for row in rows):
        raise UserError(
            f"`{folder}` holds responses that `math` judged by its earlier rule, now `math_lenient`: the rest would be judged"
            " otherwise. Replace them with --again, or keep both with --as NAME"
        )


@dataclass
class _Attempt:
    """What the run store records of this process."""

    note: Progress
    state: str = "failed"


@contextlib.contextmanager
def _attempt(job: Job) -> Iterator[_Attempt]:
    """An attempt in the evaluation's own folder, so that the store knows its state; not used for a trained run."""
    if job.target.run is not None:
        yield _Attempt(lambda _phase, _done, _total: None)
        return
    record = RunRecord(job.directory)
    attempt, error = _Attempt(record.activity.note), ""
    try:
        yield attempt
    except BaseException as failure:
        attempt.state = "failed"
        error = str(failure) if isinstance(failure, DapoctlError) else f"{type(failure).__name__}: {failure}"
        raise
    finally:
        record.ended(attempt.state, error)
        record.close()


def _sample(job: Job, writer: EvaluationWriter, stopper: Stopper, tell: Progress) -> None:
    k, total = job.protocol.k, len(job.problems) * job.protocol.k
    tell("load", 0, 0)
    policy, engine, prompt_ids = _load(job)
    writer.summary["template"] = policy.prompted_by
    if kind_of(job.target.model) == "hub":
        # Known for certain once it is loaded: it may not have been in the cache before.
        writer.summary["revision"] = revision(job.target.model)
    try:
        size = max(1, BLOCK.get(policy.device.type, LARGE_BLOCK) // k)
        for start in range(0, len(job.problems), size):
            block = [i for i in range(start, start + size) if i < len(job.problems)]
            missing = [index for index in block if job.problems[index].id not in writer.done]
            if not missing:
                continue
            done = len(writer.done) * k
            tell("sample", done, total)
            if hasattr(engine, "progress"):
                engine.progress = lambda fresh, _all, done=done: tell("sample", done + fresh, total)
            begun = time.perf_counter()
            rows = _block(job, missing, prompt_ids, policy, engine)
            with stopper.protected():
                writer.add(rows, time.perf_counter() - begun, device_name(policy.device))
        tell("sample", total, total)
    finally:
        engine.close()


def _load(job: Job) -> tuple[Policy, Engine, list[list[int]]]:
    import torch

    from dapoctl.models.loading import load_policy

    config = with_room(job.target.config, 1, 1)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    policy = load_policy(config, job.target.weights)
    if words := busy_words(policy.device.type, config.train.threads):
        warnings.warn(words, RunWarning, stacklevel=2)
    prompt_ids = [policy.encode(problem.prompt) for problem in job.problems]
    lengths = [len(ids) for ids in prompt_ids if _fits(ids, job.protocol, policy)]
    if prompt_ids and not lengths:
        shortest = min(map(len, prompt_ids))
        most = policy.max_positions - shortest
        advice = f"give at most --max-tokens {most}" if most > 0 else "shorten --instruction, or take another model"
        raise ModelError(
            f"--max-tokens {job.protocol.max_tokens}: nothing can be asked, for the model `{job.target.model}` has"
            f" {policy.max_positions} positions, and the shortest prompt of `{job.wanted['set']}` takes {shortest} of them;"
            f" {advice}"
        )
    engine = start_engine(config, policy, max(lengths, default=1), job.protocol.max_tokens)
    return policy, engine, prompt_ids


def _fits(prompt_ids: Sequence[int], protocol: Protocol, policy: Policy) -> bool:
    return len(prompt_ids) + protocol.max_tokens <= policy.max_positions


def _block(
    job: Job, indices: Sequence[int], prompt_ids: Sequence[Sequence[int]], policy: Policy, engine: Engine
) -> list[dict[str, Any]]:
    """The rows of the problems at `indices`. Those that do not fit the model's context get empty, truncated responses."""
    protocol = job.protocol
    fitting = [index for index in indices if _fits(prompt_ids[index], protocol, policy)]
    asked = [job.problems[index] for index in fitting]
    unasked = [job.problems[index] for index in indices if index not in {*fitting}]
    seeds = tuple(problem_seed(protocol.seed, problem.id) for problem in asked)
    with Scoring(job.source.pipeline, asked, policy.decode) as scoring:
        completions: list[list[Completion]] = []
        if asked:
            sampling = Sampling(protocol.max_tokens, protocol.temperature, protocol.top_p, seeds[0], seeds)
            completions = scoring.generate(engine, [prompt_ids[index] for index in fitting], sampling, protocol.k)
        texts, verdicts = scoring.result(completions)
    rows = rows_of(asked, completions, texts, verdicts)
    unmarked = {"marked": False} if "scorer" in job.source.accepts else {}
    return rows + [_unasked(problem, sample, unmarked) for problem in unasked for sample in range(protocol.k)]


def _unasked(problem: Problem, sample: int, unmarked: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "problem": problem.id,
        "sample": sample,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "response": "",
        "tokens": 0,
        "truncated": True,
        "outcome": "unanswered",
        "extracted": None,
        "correct": False,
        **unmarked,
    }


def problem_seed(seed: int, problem: str) -> int:
    """The 31-bit seed of a problem's responses; it does not depend on which other problems are sampled."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{problem}".encode()).digest()[:4]) >> 1
