"""Kill a run, or have the disk fail, before every single change that it makes to the file system, and look at what it leaves.

python -m tests.support.crashing ROOT [--fail] [--every N] [--first K]: prints a JSON object with what was found, or fails with
what was wrong. Points that ROOT/done.jsonl has are not tried again, so that the command goes on where it was interrupted.

The run checkpoints, evaluates, keeps one checkpoint, and is asked to stop: in one of its stories while it samples right after a
due checkpoint, in the other while it evaluates. Each try is a fork of a process that has imported everything already.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import torch.utils.tensorboard  # noqa: F401
from pydantic import PrivateAttr
from transformers.models.gemma3 import modeling_gemma3  # noqa: F401

from dapoctl import Component
from dapoctl.config.resolve import Resolved, load
from dapoctl.errors import DapoctlError
from dapoctl.runs.checkpoints import latest
from dapoctl.runs.files import read_lines
from dapoctl.runs.index import list_runs
from dapoctl.runs.jobs.create import create
from dapoctl.runs.summary import read_run
from dapoctl.training import attempt
from tests.support.metrics import stable_metrics

SETTINGS = (
    "steps=3",
    "rollout.prompts=2",
    "rollout.samples=4",
    "rollout.max_response_tokens=12",
    "optim.updates=2",
    "optim.lr=1e-4",
    "eval.every=2",
    "eval.limit=2",
    "checkpoint.every=1",
    "checkpoint.keep=1",
    "dynamic_sampling.max_rounds=2",
    "dynamic_sampling.max_staleness=2",
    "gkl.prior=ema",
)
STORIES = {"while it samples": ("checkpoint", "generate", 2), "while it evaluates": ("checkpoint", "eval", 1)}
"""(phase that comes before, phase in which the run is asked to stop, how often the first is entered before that)"""
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
"""Audit events of changes, which are raised before them; `os.replace` is a rename"""
TOLD = 3
"""Exit code of a run that ended with an error of dapoctl's own"""


class Asks(Component):
    """Asks the run to stop in `phase`, once `before` has been entered for the n-th time."""

    before: str
    phase: str
    times: int

    _last: str = PrivateAttr(default="")
    _entered: int = PrivateAttr(default=0)
    _asked: bool = PrivateAttr(default=False)

    def on_phase(self, phase: str, done: int, total: int) -> None:
        """What a progress display is told."""
        del done, total
        self._entered += self.before == phase != self._last
        self._last = phase
        if phase == self.phase and self._entered >= self.times and not self._asked:
            self._asked = True
            os.kill(os.getpid(), signal.SIGTERM)


def watch(root: Path, point: int | None, fail: bool) -> Counter[str]:
    """From now on, count this process's changes below `root`; die, or have it fail, before the one with number `point`."""
    seen: Counter[str] = Counter()

    def tick(what: str) -> None:
        seen[what] += 1
        if seen.total() == point:
            if fail:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if writes and isinstance(path, (str, os.PathLike)) and str(path).startswith(str(root)):
                tick("open")
        # Relative to an open folder: that is how a tree is deleted.
        elif event in CHANGES and (str(arguments[0]).startswith(str(root)) or arguments[-1] != -1):
            tick(event)

    fsync = os.fsync

    def flush(descriptor: int) -> None:
        tick("fsync")
        fsync(descriptor)

    os.fsync = flush
    sys.addaudithook(hook)
    return seen


def child(directory: Path, point: int | None, story: str | None, fail: bool) -> int:
    """Train in a fork; its exit code, minus the signal's number if one ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            log = os.open(directory.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            observers = [Asks(**dict(zip(("before", "phase", "times"), STORIES[story], strict=True)))] if story else []
            seen = watch(directory, point, fail)
            try:
                attempt.resume(directory, observers)
                code = 0
            except DapoctlError as error:
                print(f"error: {error}", flush=True)
                code = TOLD
            if point is None:
                (directory.parent / "changes.json").write_text(json.dumps({**seen, "all": seen.total()}))
        except BaseException:  # noqa: BLE001 (a fork must not return into its parent's code)
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def outcome(directory: Path) -> dict[str, Any]:
    """What must not depend on how often the run was disturbed: metrics, responses, the weights to the last bit."""
    weights = directory / "checkpoints" / "step_3" / "model" / "model.safetensors"
    samples = sorted([*directory.glob("samples/*.jsonl"), *directory.glob("evals/*/*/samples.jsonl")])
    return {
        "metrics": stable_metrics(directory),
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "samples": {str(path.relative_to(directory)): [*read_lines(path)] for path in samples},
    }


def try_point(resolved: Resolved, root: Path, story: str, point: int, fail: bool, expected: dict[str, Any]) -> str:
    """Disturb a run at one point and resume it; what came of it, "" if it was over before that point."""
    directory = create(resolved, root, ["test"])
    code = child(directory, point, story, fail)
    log = (root / "log").read_text(encoding="utf-8")[-3000:]
    assert code in ((0, TOLD) if fail else (0, -signal.SIGKILL)), f"{story}, {point}: exit code {code}\n{log}"
    summary = read_run(directory)
    assert not summary.problem, summary.problem
    assert summary.state in ("lost", "finished", "stopped", "failed"), summary
    assert [run.id for run in list_runs(root) if run.problem] == []
    if summary.state != "finished":
        again = child(directory, None, None, False)
        log = (root / "log").read_text(encoding="utf-8")[-3000:]
        assert again == 0, f"{story}, {point}: cannot be resumed ({latest(directory)})\n{log}"
    assert outcome(directory) == expected, f"{story}, {point}: {directory}"
    return {0: "went on", TOLD: "told", -signal.SIGKILL: "killed"}[code]


def main() -> None:
    """Try every point of both stories."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--fail", action="store_true", help="the change fails with EIO; otherwise the run is killed")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    given = parser.parse_args()
    resolved = load([], SETTINGS, {"plugins": ["dapo", "gkl"]})
    kind = "fail" if given.fail else "kill"
    done_file = given.root / "done.jsonl"
    done = {(row["story"], row["kind"], row["point"]): row["came"] for row in read_lines(done_file)}
    (given.root / "undisturbed").mkdir(parents=True, exist_ok=True)
    undisturbed = create(resolved, given.root / "undisturbed", ["test"])
    assert child(undisturbed, None, None, False) == 0, (given.root / "undisturbed" / "log").read_text()[-3000:]
    expected = outcome(undisturbed)
    counts: Counter[str] = Counter()
    for story in STORIES:
        folder = given.root / story.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        stopped = create(resolved, folder, ["test"])
        assert child(stopped, None, story, False) == 0, (folder / "log").read_text()[-3000:]
        assert read_run(stopped).state == "stopped"
        changes = json.loads((folder / "changes.json").read_text(encoding="utf-8"))["all"]
        for point in range(given.first, changes + 1, given.every):
            came = done.get((story, kind, point))
            if came is None:
                came = try_point(resolved, folder, story, point, given.fail, expected)
                with done_file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"story": story, "kind": kind, "point": point, "came": came}) + "\n")
            counts[came] += 1
    print(json.dumps({"points": counts.total(), **counts}))


if __name__ == "__main__":
    main()
