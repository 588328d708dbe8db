"""One sitting at the terminal UI, by keys alone: from an empty store to the transcripts of two runs that were compared.

Slow: three runs are trained to their ends and two evaluated, by keys.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dapoctl.evaluation.background import background
from dapoctl.runs.summary import read_run
from dapoctl.tui.compare.screen import CompareScreen
from dapoctl.tui.compare.transcripts_screen import TranscriptsScreen
from dapoctl.tui.launch.screen import LaunchScreen
from dapoctl.tui.run import RunScreen
from tests.support.tui import View, bench, own_leases, play

pytestmark = pytest.mark.process

STEPS = 150
SETTINGS = {
    "steps": str(STEPS),
    "rollout.prompts": "2",
    "rollout.samples": "4",
    "rollout.max_response_tokens": "24",
    "eval.every": "0",
}
EVALUATION = "--task arithmetic -k 2 --limit 16 --as held --max-tokens 24"


@pytest.mark.slow
def test_from_an_empty_store_to_transcripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_leases(monkeypatch, tmp_path)
    root = tmp_path / "runs"

    async def sitting() -> None:
        async with bench(root) as view:
            await view.until("No runs in")
            await view.press("n")
            await choose_components(view)
            await fill_in(view)
            first = await start(view)
            await watch_stop_and_resume(view, first)
            second = await clone(view, first)
            await evaluate(view, [first, second])
            await compare_and_read(view, first, second)

    play(sitting())


async def choose_components(view: View) -> None:
    """Two that are wanted; and two that cannot be together, taken back."""
    await view.until("✓ ready: uniform · grpo · clip")
    for name in ("clip_higher", "gkl", "rloo"):
        await check(view, name)
    await view.until("sequence_mean · clip_higher · gkl · rloo")
    await check(view, "dr_grpo")
    await view.until("`rloo` and `dr_grpo` both provide estimate_advantages; choose one")
    await view.press("space")
    await check(view, "rloo")
    await view.until("✓ ready: uniform · grpo · sequence_mean · clip_higher · gkl")
    assert "dapoctl run" in view.text
    assert "--plugins clip_higher,gkl" in view.text


async def check(view: View, name: str) -> None:
    """Find a component in the checklist and press space on it."""
    await view.press("slash")
    await view.until("Which component?")
    await view.type(name)
    await view.press("enter")
    screen = launch_of(view)
    await view.until(lambda _: (item := screen.part_list.current()) is not None and item.title == name)
    await view.press("space")


async def fill_in(view: View) -> None:
    """The settings of a short run; a wrong value is refused at its field."""
    await view.press("tab")
    await put(view, "steps", "-3")
    await view.until("✗ steps must be greater than or equal to 1")
    await retype(view, "-3", SETTINGS["steps"])
    for key, text in SETTINGS.items():
        if key != "steps":
            await put(view, key, text)
    await view.until(f"steps={STEPS}")


async def put(view: View, key: str, text: str) -> None:
    """Search a field, and type over what is there."""
    fields = launch_of(view).form.list
    await view.press("slash")
    await view.type(key)
    await view.until(lambda _: any(row.key == key for row in fields.rows) and len(fields.rows) < 8)
    await view.press("enter")
    for _ in fields.rows:
        if fields.rows[fields.cursor].key == key:
            break
        await view.press("down")
    assert fields.rows[fields.cursor].key == key
    await view.press("enter")
    await view.until(lambda _: launch_of(view).form.editing)
    await retype(view, launch_of(view).form.editor.value, text)


async def retype(view: View, old: str, text: str) -> None:
    """Type `text` in place of `old`."""
    await view.press("end", *["backspace"] * len(old))
    await view.type(text)
    await view.press("enter")


async def start(view: View) -> str:
    """ctrl+r; the run's id, once its screen is there."""
    await view.press("ctrl+r")
    await view.until(lambda _: isinstance(view.app.screen, RunScreen), 60)
    screen = view.app.screen
    assert isinstance(screen, RunScreen)
    return screen.run_id


async def watch_stop_and_resume(view: View, run: str) -> None:
    """Its curve moves, its log follows; it is stopped with a checkpoint and goes on from there to its end."""
    directory = view.app.session.root / run
    await view.until(f"/{STEPS}", 60)
    await view.until("reward", 120)
    before = view.text
    await view.until(lambda text: text != before and read_run(directory).step >= 3, 120)
    await view.press("l")
    reached = read_run(directory).step + 2
    await view.until(f"step {reached}/{STEPS}", 120)
    await view.press("x")
    await view.until("A checkpoint is saved first")
    await view.press("y")
    await view.until("■ stopped", 120)
    stopped = read_run(directory)
    assert 0 < stopped.step < STEPS
    await view.press("u")
    await view.until("✓ finished", 300)
    assert read_run(directory).step == STEPS


async def clone(view: View, run: str) -> str:
    """The same run with one parameter changed; the form says what differs."""
    await view.press("c")
    await view.until("accuracy")
    await view.press("n")
    await view.until("✓ ready", 60)
    await view.until(lambda _: launch_of(view).parent_run is not None)
    if launch_of(view).part_list.has_focus:
        await view.press("tab")
    await put(view, "gkl.coef", "2.5")
    await view.until(lambda _: "--set gkl.coef=2.5" in launch_of(view).line)
    # The line follows each key; what differs, the resolver, which is asked a moment later.
    await view.until(lambda _: not launch_of(view).pending)
    difference = launch_of(view).difference
    assert difference is not None
    assert difference.keys == {"gkl.coef": (0.01, 2.5)}
    second = await start(view)
    assert second != run
    await view.until("✓ finished", 300)
    return second


async def evaluate(view: View, runs: list[str]) -> None:
    """Both, in the background."""
    await view.press("1", "escape")
    await view.until(lambda text: "No runs" not in text and text.count("✓ finished") >= 2)
    await view.press("home", "space", "space", "e")
    await view.until("Evaluate 2")
    await view.press("ctrl+u")
    await view.type(EVALUATION)
    await view.press("enter")
    folders = [view.app.session.root / run for run in runs]

    def done(_text: str) -> bool:
        found = [background(folder) for folder in folders]
        assert not any(each is not None and each.state == "failed" for each in found), found
        return all(each is not None and each.state == "finished" for each in found)

    await view.until(done, 300)


async def compare_and_read(view: View, first: str, second: str) -> None:
    """The figures of both, what differs between them, and the responses to one problem side by side."""
    await view.press("c")
    await view.until(lambda _: isinstance(view.app.screen, CompareScreen))
    await view.until("minus A", 60)
    await view.until("MDE", 60)
    screen = view.app.screen
    assert isinstance(screen, CompareScreen)
    assert screen.found is not None
    assert {side.run for side in screen.found.sides} == {first, second}
    await view.press("enter")
    await view.until(lambda _: isinstance(view.app.screen, TranscriptsScreen))
    await view.until(lambda text: "they part" in text or "the same text" in text, 60)
    assert "tokens" in view.text
    await view.press("escape")
    await view.until("minus A")


def launch_of(view: View) -> LaunchScreen:
    screen = view.app.screen_stack[0]
    assert isinstance(screen, LaunchScreen)
    return screen
