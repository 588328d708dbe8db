"""Pictures of the screens as SVG: a store that is always the same, at a time that stands still; and how two differ.

A scene more is one line in `SCENES`, and `DAPOCTL_UPDATE_SNAPSHOTS=1 pytest tests/tui/test_snapshots.py` to take it.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dapoctl.runs.files import write_json
from dapoctl.runs.jobs.gpus import Gpu, Nvml
from dapoctl.runs.jobs.leases import devices, give_back, lease
from dapoctl.runs.jobs.queue import put
from dapoctl.runs.tickets import FOLDER, Ticket
from dapoctl.tui.app import Workbench
from tests.support.places import ROOT
from tests.support.stores import BEGAN, MINUTE, add_run, learning
from tests.support.tui import View

FOLDER_OF_PICTURES = ROOT / "tests" / "tui" / "snapshots"
NOW = BEGAN + 600 * MINUTE
SIZE = (120, 32)
STILL = 4
"""Looks, 0.3 s apart, at which nothing has moved"""
GIB = 2**30
NAME = "NVIDIA H100 80GB HBM3"
GPUS = (
    Gpu(0, NAME, 80 * GIB, 19 * GIB, (9, 0), "GPU-aaaa", 97, 64, ((2**22 + 1, 61 * GIB),)),
    Gpu(1, NAME, 80 * GIB, 58 * GIB, (9, 0), "GPU-bbbb", 31, 51, ((2**22 + 2, 22 * GIB),)),
)
"""Of a machine that these tests do not have; no process has such a PID"""
RUNNING = "20260101-094000-dapo-5e1f"


@dataclass(frozen=True)
class Scene:
    """A screen, how to get there, and by what words it is known to be complete."""

    name: str
    keys: tuple[str, ...]
    """What is pressed; `~words` waits for words"""
    until: str
    size: tuple[int, int] = SIZE


SCENES = (
    Scene("runs", ("down", "down"), "grad norm", (140, 24)),
    Scene("runs-narrow", (), "█", (80, 24)),
    Scene("run", ("down", "down", "enter"), "gradient norm", (140, 36)),
    Scene("launch", ("3",), "✓ ready", (140, 40)),
    Scene("queue", ("2",), "waits for 1 GPU", (120, 16)),
    Scene("plugins", ("6", "~arithmetic", *["down"] * 8), "PARAMETERS"),
    Scene("help", ("question_mark",), "runs.compare", (80, 24)),
)


@contextlib.contextmanager
def showcase(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store with a run of every state on a machine with two GPUs, ten hours after its first run."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DAPOCTL_LEASES", str(folder / "leases"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("dapoctl.runs.jobs.gpus.read", lambda: Nvml(GPUS))
    monkeypatch.setattr(time, "time", lambda: NOW)
    root = Path("runs")
    add_run(root, "20260101-001200-grpo-8dbc", steps=200, evals={"arithmetic": 0.707}, created=BEGAN + 12 * MINUTE)
    add_run(
        root,
        "20260101-021500-clip_higher-4022",
        ["clip_higher"],
        steps=200,
        metrics=lambda step: learning(step, 1.3),
        evals={"arithmetic": 0.742},
        created=BEGAN + 135 * MINUTE,
        note="the baseline of everything below",
        tags=["paper"],
    )
    add_run(
        root,
        "20260101-034000-gkl-77aa",
        ["gkl"],
        steps=200,
        done=41,
        state="failed",
        error="CUDA out of memory: lower train.micro_batch_tokens",
        created=BEGAN + 220 * MINUTE,
    )
    add_run(
        root,
        "20260101-051000-clip_higher-gkl-780e",
        ["clip_higher", "gkl"],
        steps=200,
        metrics=lambda step: learning(step, 1.7),
        evals={"arithmetic": 0.781},
        created=BEGAN + 310 * MINUTE,
    )
    add_run(
        root, "20260101-081000-rloo-19c4", ["rloo"], steps=200, done=87, state="stopped", created=BEGAN + 490 * MINUTE
    )
    run = add_run(
        root,
        RUNNING,
        ["dapo"],
        steps=1800,
        done=1180,
        metrics=lambda step: learning(step, 0.08),
        state=None,
        created=NOW - 1182,
        evals={"arithmetic": 0.763},
    )
    activity = {
        "schema": 1,
        "time": NOW - 1,
        "step": 1181,
        "phase": "generate",
        "done": 12,
        "total": 64,
        "longest": 4.0,
    }
    write_json(run / "attempts" / "1" / "progress.json", activity)
    for minute, (name, plugins, need) in enumerate((("dapo", ["dapo", "gkl"], 2), ("overlong", ["overlong"], 1))):
        waits = f"20260101-09450{minute}-{name}-a1b{minute}"
        add_run(root, waits, plugins, steps=200, done=0, state=None, created=NOW - 900 + 60 * minute)
        (root / FOLDER).mkdir(exist_ok=True)
        put(root, Ticket(waits, 1, need=need, order=float(minute), queued=NOW - 900 + 60 * minute))
    taken = lease(devices()[0], RUNNING)
    assert taken is not None
    try:
        with (run / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield root
    finally:
        give_back([taken])


async def picture(root: Path, scene: Scene, wanted: str = "", seconds: float = 20.0) -> str:
    """The scene as SVG: as soon as it looks like `wanted`, else as it is when nothing has moved for a while."""
    app = Workbench(root, theme="textual-dark")
    async with app.run_test(size=scene.size) as pilot:
        view = View(pilot)
        await view.until("█")
        for key in scene.keys:
            await (view.until(key[1:]) if key[0] == "~" else view.press(key))
        await view.until(scene.until)
        deadline = time.monotonic() + seconds
        still = 0
        svg = _taken(view)
        while still < STILL and not (wanted and not differences(wanted, svg)):
            await view.pilot.pause(0.3)
            before, svg = svg, _taken(view)
            # What a thread still works out may come late on a busy machine: a difference is given its time.
            still = still + 1 if svg == before and (not wanted or time.monotonic() > deadline) else 0
        return svg


def _taken(view: View) -> str:
    return re.sub(r"terminal-\d+", "terminal", view.app.export_screenshot(title="dapoctl tui", simplify=True))


# How two pictures differ.


def differences(old: str, new: str) -> list[str]:
    """Where the text or the style of two pictures differs, in words; what only names or orders them is left out."""
    before, after = _parts(old), _parts(new)
    lost = [f"- {part}" for part in before if part not in set(after)]
    come = [f"+ {part}" for part in after if part not in set(before)]
    return sorted([*lost, *come], key=lambda part: (float(part.split()[1]), part))


def _parts(svg: str) -> list[str]:
    """Every text and every patch of colour: `row column style what`."""
    styles = dict(re.findall(r"\.\w+-(r\d+) \{ ([^}]*) \}", svg))
    found = []
    for kind, x, y, text in re.findall(r'<text class="\w+-(r\d+)" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        words = html.unescape(text).replace("\xa0", " ")
        if words.strip():
            found.append(f"{float(y):.0f} {float(x):.0f} [{styles.get(kind, '')}] {words!r}")
    for fill, x, y, width in re.findall(r'<rect fill="([^"]+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', svg):
        found.append(f"{float(y):.0f} {float(x):.0f} [{fill}] {float(width):.0f} wide")
    return found
