"""Kill a training run again and again, at random moments and in the middle of its writes, and look at what it leaves.

python -m tests.support.killing ROOT KILLS SEED [--all]: prints a JSON object with what was found, or fails with what was
wrong. KILLS of one configuration, or, with --all, shared by ten. Runs that ROOT/done.jsonl has are not made again, so that the
command goes on where it was interrupted.

Each try is a fork of a process that has imported everything already: the training, not the imports, takes the time.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
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
from transformers.models.gemma3 import modeling_gemma3  # noqa: F401

from dapoctl.config.resolve import Resolved, load
from dapoctl.runs.checkpoints import damage_of
from dapoctl.runs.files import LineWriter, read_lines
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
CONFIGURATIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "everything": (["dapo", "gkl"], ()),
    "plain": (["grpo"], ("optim.updates=1", "eval.every=0")),
    "evaluated": (["grpo"], ("eval.every=1", "checkpoint.keep_best=1")),
    "adapters": (["grpo"], ("lora.rank=4", "optim.lr=1e-3")),
    "three updates": (["clip_higher"], ("optim.updates=3",)),
    "left over": (["dapo"], ("dynamic_sampling.max_staleness=3",)),
    "thompson": (["thompson", "accuracy_range"], ("accuracy_range.max_rounds=3",)),
    "pools": (["difficulty_pools", "zero_variance_mask"], ("difficulty_pools.return_after=2",)),
    "average": (["gkl", "gspo"], ("gkl.prior=ema", "gkl.coef=0.1")),
    "adapters and everything": (["dapo", "gkl"], ("lora.rank=4",)),
}
"""Components and settings beside `SETTINGS`, less what belongs to components that a configuration has not"""
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
    """The store is readable and the latest checkpoint is what was written; its step, 0 without one."""
    (listed,) = list_runs(directory.parent)
    summary = read_run(directory)
    assert not listed.problem, listed.problem
    assert listed.state == summary.state in ("lost", "finished", "stopped"), summary
    steps = [row["step"] for row in stable_metrics(directory)]
    assert steps == sorted(set(steps)), steps
    found = checkpoint.latest(directory)
    if found is None:
        return 0
    assert not damage_of(found)
    return int(checkpoint.read_state(found)["step"])


def resolved_for(name: str) -> Resolved:
    """A configuration by its name."""
    plugins, settings = CONFIGURATIONS[name]
    tables = {"gkl": "gkl" in plugins, "dynamic_sampling": "dapo" in plugins}
    common = [setting for setting in SETTINGS if tables.get(setting.partition(".")[0], True)]
    return load([], [*common, *settings], {"plugins": plugins})


def kill_and_resume(resolved: Resolved, root: Path, number: int, draw: random.Random) -> dict[str, Any]:
    """A run that is killed until it is finished; it must end as the one in `undisturbed` did. What became of it."""
    (undisturbed,) = [path for path in (root / "undisturbed").iterdir() if path.is_dir()]
    writes, seconds = json.loads((root / "undisturbed" / "measured").read_text())
    directory = create(resolved, root / f"run{number}", ["test"])
    counts: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    while True:
        inside = draw.random() < 0.6
        # Early enough that most tries are killed, late enough that most make some headway.
        die_at = draw.randint(1, max(2, writes // 2)) if inside else None
        killed = fork(directory, die_at, None if inside else draw.uniform(0.0, seconds))
        counts["killed"] += killed
        counts["inside a write"] += killed and inside
        reached[str(look(directory))] += killed
        if not killed or read_run(directory).state == "finished":
            break
    assert stable_metrics(directory) == stable_metrics(undisturbed), directory
    assert weights(directory) == weights(undisturbed), directory
    assert read_run(directory).state == "finished"
    return {**counts, "by checkpoint": reached}


def weights(directory: Path) -> list[str]:
    """The last checkpoint's files of weights, by what is in them."""
    found = checkpoint.latest(directory)
    assert found is not None
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found.glob("model/*.safetensors"))]


def main() -> None:
    """Kill until there were enough kills; each run must end as one that was never killed."""
    root, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    names = [*CONFIGURATIONS] if "--all" in sys.argv else ["everything"]
    counts: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    for name in names:
        folder, done = root / name.replace(" ", "-"), [*read_lines(root / "done.jsonl")]
        resolved = resolved_for(name)
        if not (folder / "undisturbed" / "measured").exists():
            shutil.rmtree(folder, ignore_errors=True)
            begun = time.monotonic()
            undisturbed = create(resolved, folder / "undisturbed", ["test"])
            assert not fork(undisturbed, None, None)
            assert [row["step"] for row in stable_metrics(undisturbed)][-6:] == [*range(1, 7)]
            writes = int((folder / "undisturbed" / "writes").read_text())
            (folder / "undisturbed" / "measured").write_text(json.dumps([writes, time.monotonic() - begun]))
        rows = [row for row in done if row["configuration"] == name]
        while sum(row["killed"] for row in rows) < kills / len(names):
            number = len(rows)
            shutil.rmtree(folder / f"run{number}", ignore_errors=True)
            row = kill_and_resume(resolved, folder, number, random.Random(f"{seed} {name} {number}"))
            rows.append({"configuration": name, "killed": 0, **row})
            with (root / "done.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            shutil.rmtree(folder / f"run{number}")
        for row in rows:
            counts.update({"killed": row["killed"], "inside a write": row.get("inside a write", 0), "runs": 1})
            reached.update(row["by checkpoint"])
    print(json.dumps({**counts, "by checkpoint": dict(sorted(reached.items()))}))


if __name__ == "__main__":
    main()
