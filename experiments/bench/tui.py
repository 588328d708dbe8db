"""The terminal UI's budgets: first paint, handlers, a huge log, a long chart, idle CPU.

python -m experiments.bench.tui [paint] [idle] [handlers] [log] [chart] [--runs 1000] [--store DIR]

Each figure is printed with its budget; the exit code is 1 if one is exceeded. Without names all are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dapoctl.runs.files import write_json
from experiments.bench.big_store import METRICS, fill
from experiments.bench.terminal import terminal

if TYPE_CHECKING:
    from experiments.bench.steps import Step

BUDGETS = {"paint": 1.0, "idle": 0.03, "handlers": 0.05, "log": 0.5, "chart": 0.05}
SIZES = ((80, 24), (160, 50))


class Report:
    """Figures with their budgets."""

    def __init__(self) -> None:
        self.exceeded: list[str] = []

    def say(self, name: str, figure: float, text: str) -> None:
        """Print a figure; remember it if it is above its budget."""
        over = figure > BUDGETS[name]
        if over:
            self.exceeded.append(name)
        print(f"{'✗' if over else '✓'} {name:<9} {text}", flush=True)


def newest(root: Path) -> Path:
    """The run on the first line of the screen."""
    return sorted(path for path in root.iterdir() if path.name[0] != ".")[-1]


def paint(root: Path, report: Report, rounds: int = 7) -> None:
    """From exec to the first run's name on the screen."""
    tail = newest(root).name.rpartition("-")[2].encode()
    seconds, cpu = [], []
    for _ in range(rounds):
        with terminal(root) as process:
            seconds.append(process.until(tail))
            cpu.append(process.cpu())
    median = statistics.median(seconds)
    text = f"{min(seconds):.2f} s best, {median:.2f} s median of {rounds} ({min(cpu):.2f} s of CPU); budget 1 s"
    report.say("paint", median, f"first paint: {text}")


@contextlib.contextmanager
def running(run: Path) -> Iterator[None]:
    """Make `run` look as if it were training: its lock is held, and a step is written every second."""
    attempt = run / "attempts" / "2"
    write_json(attempt / "proc.json", {"pid": 1})
    stop = threading.Event()

    def train() -> None:
        step = 10**6
        with (run / "metrics.jsonl").open("a") as file:
            while not stop.wait(1.0):
                step += 1
                row = {"step": step, "time": time.time(), "metrics": {name: random.random() for name in METRICS}}
                file.write(json.dumps(row) + "\n")
                file.flush()

    thread = threading.Thread(target=train)
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            for path in sorted(attempt.iterdir()):
                path.unlink()
            attempt.rmdir()


def idle(root: Path, report: Report, seconds: float = 30.0) -> None:
    """CPU without input while one run is training."""
    run = newest(root)
    with running(run), terminal(root) as process:
        process.until(run.name.rpartition("-")[2].encode())
        process.rest(3.0)
        share = process.rest(seconds)
    report.say("idle", share, f"idle: {share:.1%} of a core over {seconds:g} s, one run training; budget 3%")


def handlers(root: Path, report: Report, rounds: int = 2) -> None:
    """The longest turns of the event loop while every screen is opened, revisited and scrolled."""
    from experiments.bench.steps import worst

    longest = 0.0
    with running(newest(root)):
        for size in SIZES:
            turns: dict[str, list[list[Step]]] = {"opened for the first time": [], "after that": []}
            for _ in range(rounds):
                for part, steps in zip(turns.values(), asyncio.run(_visit(root, size)), strict=True):
                    part.append(steps)
            for title, part in turns.items():
                slowest = sorted(worst(part).items(), key=lambda turn: turn[1], reverse=True)
                print(
                    f"  {size[0]}x{size[1]}, screens {title}; longest turns in CPU time, of {rounds} rounds the best:"
                )
                for name, seconds in slowest[:6]:
                    print(f"    {seconds * 1e3:6.1f} ms  {name}", flush=True)
                longest = max(longest, slowest[0][1] if slowest else 0.0)
    report.say("handlers", longest, f"longest turn of the event loop: {longest * 1e3:.0f} ms; budget 50 ms")


async def _visit(root: Path, size: tuple[int, int]) -> tuple[list[Step], list[Step]]:
    """Turns while each screen is opened for the first time, and after that."""
    from dapoctl.tui.app import PLACES, Workbench
    from experiments.bench.steps import recorded

    app = Workbench(root, readonly=True)
    async with app.run_test(size=size) as pilot:

        async def look(*keys: str) -> None:
            for key in keys:
                await pilot.press(key)
                await pilot.pause()

        while not app.session.snapshot.read:
            await pilot.pause(0.05)
        app.settle()  # as it does in a terminal
        places = [str(digit) for digit, _ in enumerate(PLACES, 1)]
        with recorded() as first:
            for key in (*places[1:], "1", "enter"):
                await look(key)
                await pilot.pause(1.0)
            await look("escape", "1", "ctrl+p", "escape", "question_mark", "escape")
        with recorded() as again:
            await look(*["j"] * 8, *["pagedown"] * 8, "end", "home", "s", "s", "s", "space", "p")
            for key in ("enter", "l"):
                await look(key)
                await pilot.pause(1.0)
                await look(*["j"] * 3, "pagedown", "end", "home", "escape", "escape", "1")
            for key in (*places, "1"):
                await look(key)
                await pilot.pause(0.5)
                await look(*["down"] * 4, "pagedown", "end", "home", "question_mark", "escape")
            await look("ctrl+p", *"open", "escape")
            await pilot.resize_terminal(100, 40)
            await pilot.pause(2.5)
        return first, again


def log(root: Path, report: Report, gigabytes: float = 1.0) -> None:
    """From opening the log of a run to its last line on the screen."""
    from experiments.bench.run_screen import log_shown

    seconds = log_shown(newest(root), gigabytes)
    report.say("log", seconds, f"{gigabytes:g} GB log, last line on the screen: {seconds:.2f} s; budget 0.5 s")


def chart(root: Path, report: Report, points: int = 100_000) -> None:
    """Redrawing long curves, as when a point is added or the terminal is resized."""
    from experiments.bench.run_screen import chart_drawn

    opened, again = chart_drawn(newest(root), points)
    text = (
        f"{points:,} points of four metrics drawn again: {again * 1e3:.1f} ms; budget 50 ms (opened in {opened:.1f} s)"
    )
    report.say("chart", again, text)


MEASURES: dict[str, Callable[[Path, Report], None]] = {
    "paint": paint,
    "idle": idle,
    "handlers": handlers,
    "log": log,
    "chart": chart,
}


def main() -> int:
    """Make the store, measure, remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", choices=[[], *MEASURES])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=200, help="of metrics in each run")
    parser.add_argument("--store", type=Path, help="kept, and used again")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="dapoctl-tui-") as scratch:
        root = options.store or Path(scratch, "runs")
        if not root.is_dir():
            fill(root, options.runs, options.rows)
        for name in options.measures or MEASURES:
            MEASURES[name](root, report)
    return 1 if report.exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
