"""Kill a training run again and again, at random moments and in the middle of its writes, and look at what it leaves.

python -m tests.support.killing ROOT KILLS SEED: prints a JSON object with what was found, or fails with what was wrong.

Each try is a fork of a process that has imported everything already: the training, not the imports, takes the time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
from safetensors.torch import load_file
from transformers.models.gemma3 import modeling_gemma3  # noqa: F401

from dapoctl.config.resolve import load
from dapoctl.runs.files import LineWriter
from dapoctl.runs.index import list_runs
from dapoctl.runs.jobs.create import create
from dapoctl.runs.summary import read_run
from dapoctl.training import attempt, checkpoint
from tests.support.metrics import stable_metrics

SETTINGS = (
    "steps=6",
    "rollout.prompts=2",
    "rollout.samples=4",
    "rollout.max_response_tokens=16",
    "optim.updates=2",
    "optim.lr=1e-4",
    "eval.every=2",
    "eval.limit=4",
    "checkpoint.every=1",
    "checkpoint.keep=1",
    "dynamic_sampling.max_rounds=2",
    "dynamic_sampling.max_staleness=2",
    "gkl.prior=ema",
)
WRITES = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")
"""Of `os`: what makes a change to the store visible or lasting"""


def work(directory: Path, die_at: int | None) -> None:
    """In the child: train; die at the write with number `die_at`. Its number of writes is the exit code of nobody."""
    seen = 0

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            tick()
            result = function(*arguments, **options)
            tick()
            return result

        return call

    def torn(self: LineWriter, row: dict[str, Any]) -> None:
        line = json.dumps(row, ensure_ascii=False) + "\n"
        for part in (line[: len(line) // 2], line[len(line) // 2 :]):
            self._file.write(part)
            self._file.flush()
            tick()

    for name in WRITES:
        setattr(os, name, watched(getattr(os, name)))
    LineWriter.write = torn  # type: ignore[method-assign]
    attempt.resume(directory)
    Path(directory.parent, "writes").write_text(str(seen))


def fork(directory: Path, die_at: int | None, die_after: float | None) -> bool:
    """Train in a child; whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            log = os.open(directory.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            work(directory, die_at)
            os._exit(0)
        except BaseException:  # noqa: BLE001 (a fork must not return into its parent's code)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    if die_after is not None:
        time.sleep(die_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return True
    assert os.waitstatus_to_exitcode(status) == 0, (directory.parent / "log").read_text()[-3000:]
    return False


def look(directory: Path) -> int:
    """The store is readable and the latest checkpoint loads; its step, 0 without one."""
    (listed,) = list_runs(directory.parent)
    summary = read_run(directory)
    assert not listed.problem, listed.problem
    assert listed.state == summary.state in ("lost", "finished", "stopped"), summary
    steps = [row["step"] for row in stable_metrics(directory)]
    assert steps == sorted(set(steps)), steps
    found = checkpoint.latest(directory)
    if found is None:
        return 0
    assert load_file(found / "model" / "model.safetensors")
    return int(checkpoint.read_state(found)["step"])


def main() -> None:
    """Kill until there were enough kills; each run must end as one that was never killed."""
    root, kills, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    resolved = load([], SETTINGS, {"plugins": ["dapo", "gkl"]})
    undisturbed = create(resolved, root / "undisturbed", ["test"])
    begun = time.monotonic()
    assert not fork(undisturbed, None, None)
    seconds = time.monotonic() - begun
    writes = int((root / "undisturbed" / "writes").read_text())
    expected = stable_metrics(undisturbed)
    assert [row["step"] for row in expected] == [*range(7)]
    counts: Counter[str] = Counter()
    reached: Counter[int] = Counter()
    runs = 0
    while counts["killed"] < kills:
        directory = create(resolved, root / f"run{runs}", ["test"])
        runs += 1
        while True:
            inside = draw.random() < 0.6
            # Early enough that most tries are killed, late enough that most make some headway.
            die_at = draw.randint(1, max(2, writes // 2)) if inside else None
            killed = fork(directory, die_at, None if inside else draw.uniform(0.0, seconds))
            counts["killed"] += killed
            counts["inside a write"] += killed and inside
            reached[look(directory)] += killed
            if not killed or read_run(directory).state == "finished":
                break
        assert stable_metrics(directory) == expected, directory
        assert read_run(directory).state == "finished"
    print(json.dumps({**counts, "runs": runs, "writes": writes, "by checkpoint": dict(sorted(reached.items()))}))


if __name__ == "__main__":
    main()
