"""The screen of one run, with files as large as those of long runs."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from dapoctl.runs.files import write_json
from dapoctl.tui.app import Workbench
from experiments.bench.steps import Step, recorded

LAST = "the very last line"
SERIES = ("reward/mean", "score/accuracy", "policy/entropy", "response/length_mean")


async def _until(pilot: Pilot[None], true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.perf_counter() + seconds
    while not true():
        if time.perf_counter() > deadline:
            raise SystemExit(f"not within {seconds} s; the screen:\n{_text(pilot)}")
        await asyncio.sleep(0.005)


def _text(pilot: Pilot[None]) -> str:
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


def log_shown(run: Path, gigabytes: float) -> float:
    """Seconds from opening a log of `gigabytes` in `run` to its last line on the screen."""
    log = run / "attempts" / "1" / "stdout.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    block = (json.dumps({"text": "x" * 180}) + "\n") * 5000
    with log.open("w") as file:
        for _ in range(int(gigabytes * 2**30 / len(block))):
            file.write(block)
        file.write(f"{LAST}\n")
    try:
        return min(asyncio.run(_log_shown(run)) for _ in range(3))
    finally:
        log.unlink()


async def _log_shown(run: Path) -> float:
    app = Workbench(run.parent, readonly=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await _until(pilot, lambda: app.session.snapshot.read)
        await pilot.pause()
        begun = time.perf_counter()
        app.open_run(run.name, "logs")
        await _until(pilot, lambda: LAST in _text(pilot))
        return time.perf_counter() - begun


def chart_drawn(run: Path, points: int) -> tuple[float, float]:
    """(seconds from opening the curves of a run of `points` steps to its last value; the longest turn of the event loop, in
    CPU seconds, while points are added and the terminal is resized)."""
    generator = random.Random(0)
    path = run / "metrics.jsonl"
    before = path.read_bytes()

    def row(step: int) -> str:
        value = math.sin(step / 900) + generator.gauss(0, 0.2)
        return json.dumps({"step": step, "time": 1e9 + step, "metrics": dict.fromkeys(SERIES, value)}) + "\n"

    try:
        with path.open("w") as file:
            file.write(json.dumps({"schema": 1, "kind": "metrics"}) + "\n")
            file.writelines(row(step) for step in range(1, points + 1))
        write_json(run / "attempts" / "1" / "proc.json", {"pid": 1})
        return asyncio.run(_chart_drawn(run, points, row))
    finally:
        path.write_bytes(before)


async def _chart_drawn(run: Path, points: int, row: Callable[[int], str]) -> tuple[float, float]:
    app = Workbench(run.parent, readonly=True)
    async with app.run_test(size=(160, 50)) as pilot:
        await _until(pilot, lambda: app.session.snapshot.read)
        course = app.session.courses.of(run)
        begun = time.perf_counter()
        app.open_run(run.name)
        await _until(pilot, lambda: len(course.steps) >= points and any("⠁" <= sign <= "⣿" for sign in _text(pilot)))
        opened = time.perf_counter() - begun
        await pilot.pause(1.0)
        rounds: list[list[Step]] = []
        for index in range(5):
            with recorded(0.0) as steps:
                with (run / "metrics.jsonl").open("a") as file:
                    file.write(row(points + index + 1))
                await _until(pilot, lambda wanted=points + index + 1: len(course.steps) >= wanted)  # type: ignore[misc]
                await pilot.pause(0.3)
                await pilot.resize_terminal(150 + index, 50)
                await pilot.pause(0.3)
            rounds.append(steps)
        return opened, min(max(step.cpu for step in steps) for steps in rounds)
