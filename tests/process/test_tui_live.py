"""The terminal UI and runs that really go on: started, stopped and resumed, by it and by others.

Processes: runs go on beside the screen, and a terminal is a real one. Slow: stories of several runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dapoctl.runs.summary import read_run
from dapoctl.runs.tickets import tickets
from tests.support.background import LONG, Store, processes_left, wait_for, wait_for_state, wait_for_step
from tests.support.stores import add_run
from tests.support.tui import SMALL, WIDE, bench, play

pytestmark = pytest.mark.process


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with one slot of its own, for this process too; nothing is left running."""
    made = Store(tmp_path)
    for name in ("DAPOCTL_RUNS", "DAPOCTL_LEASES", "DAPOCTL_SLOTS", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, made.env[name])
    yield made
    for directory in made.root.glob("2*"):
        if read_run(directory).state not in ("finished", "failed", "stopped"):
            made.call("runs", "stop", directory.name, "--timeout", "5", code=None)


@pytest.mark.slow
def test_a_run_of_another_process_appears_and_is_stopped_and_resumed(store: Store) -> None:
    async def story() -> None:
        async with bench(store.root) as view:
            await view.until("start a first run")
            run = store.run("--detach", "--name", "other", settings=LONG)
            await view.until("● running", 60)
            await view.until(lambda text: "other" in text and " 0/5000" not in text, 60)
            await view.press("x")
            await view.until(f"Stop {run.name}")
            await view.press("n")
            assert read_run(run).state == "running"
            await view.press("x", "y")
            await view.until("■ stopped", 60)
            assert read_run(run).state == "stopped"
            before = read_run(run).step
            await view.press("u")
            await view.until("● running", 60)
            wait_for_step(run, before + 1)
            await view.press("x", "y")
            await view.until("■ stopped", 60)
            wait_for(lambda: not processes_left(run))

    play(story())


@pytest.mark.slow
def test_leaving_leaves_runs_running_and_a_second_one_sees_the_same(store: Store) -> None:
    async def story() -> None:
        async with bench(store.root) as view:
            await view.until("start a first run")
            await view.press("f")
            await view.until("● running", 60)
            async with bench(store.root, WIDE) as second:
                # The same row; the second one beside it has more columns.
                await second.until("● running", 30)
                await second.until("grpo")
            await view.press("ctrl+q")
        [directory] = store.root.glob("2*")
        assert read_run(directory).state == "running"
        wait_for_step(directory, 1)
        async with bench(store.root) as view:
            await view.until("● running")
            await view.press("x", "y")
            await view.until("■ stopped", 60)

    play(story())


def test_what_is_not_running_is_not_stopped(store: Store) -> None:
    add_run(store.root, "20260101-000001-done-0001", name="done")

    async def story() -> None:
        async with bench(store.root) as view:
            await view.press("x")
            await view.until("nothing to stop: finished")
            await view.press("u")
            await view.until("that did not work")

    play(story())


def queue(store: Store, *names: str) -> list[str]:
    """Ids of runs that wait in a held queue, in that order."""
    store.call("queue", "hold")
    return [store.run("--queue", "--name", name).name for name in names]


def waiting(store: Store) -> list[str]:
    return [ticket.run for ticket in tickets(store.root)]


@pytest.mark.slow
def test_the_queue_is_reordered_held_and_dropped(store: Store) -> None:
    first, second, third = queue(store, "first", "second", "third")

    async def story() -> None:
        async with bench(store.root) as view:
            await view.press("2")
            text = await view.until("The queue is held")
            assert "slot 0" in text
            assert "DAPOCTL_SLOTS=2" in text
            await view.press("J")
            await view.until(lambda _text: waiting(store) == [second, first, third])
            await view.until(lambda text: text.index("second") < text.index("first"))
            await view.press("J")
            await view.until(lambda _text: waiting(store) == [second, third, first])
            await view.until(lambda text: text.index("third ") < text.index("first "))
            await view.press("T")
            await view.until(lambda _text: waiting(store) == [first, second, third])
            await view.press("h")
            await view.until("◼ held")
            assert next(ticket for ticket in tickets(store.root) if ticket.run == first).held
            await view.press("h")
            await view.until_gone("◼ held")
            await view.press("d")
            await view.until(f"Take {first}")
            await view.press("n")
            assert len(waiting(store)) == 3
            await view.press("d", "y")
            await view.until(lambda _text: waiting(store) == [second, third])
            # The queue goes on: one slot, so one of them starts and the other waits for it.
            await view.press("H")
            await view.until(f"leased by {second}", 60)
            await view.until("waits for 1 slot", 60)

    play(story())
    wait_for_state(store.root / second, "finished")
    store.call("queue", "list")  # whoever comes by starts the next one
    wait_for_state(store.root / third, "finished")
    assert read_run(store.root / first).state == "stopped"


def test_a_queue_that_is_only_read(store: Store) -> None:
    names = queue(store, "first", "second")

    async def story() -> None:
        async with bench(store.root, readonly=True) as view:
            await view.press("2")
            await view.until("second")
            for key, what in (("J", "move"), ("h", "hold"), ("H", "hold"), ("d", "drop")):
                await view.press(key)
                await view.until(f"{what}: this session is read only")

    play(story())
    assert waiting(store) == names


def test_an_empty_queue_says_what_comes_there(store: Store) -> None:
    async def story() -> None:
        async with bench(store.root, SMALL) as view:
            await view.press("2")
            await view.until("Nothing waits")
            await view.press("J", "K", "T", "h", "d", "enter", "H")
            assert "Nothing waits" in view.text

    play(story())


# In a real terminal.


class Tmux:
    """A terminal of a given size, on a server of its own."""

    def __init__(self, store: Store, width: int, height: int) -> None:
        self.socket = f"dapoctl-{uuid.uuid4().hex[:8]}"
        env = {**store.env, "TERM": "xterm-256color"}
        env.pop("NO_COLOR")
        size = ["-x", str(width), "-y", str(height)]
        self._call(
            "new-session", "-d", *size, "-c", str(store.cwd), "env 'PS1=prompt> ' bash --norc --noprofile", env=env
        )

    def _call(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        command = ["tmux", "-L", self.socket, "-f", os.devnull, *arguments]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=30).stdout

    def type(self, *keys: str) -> None:
        self._call("send-keys", *keys)

    def screen(self) -> str:
        return self._call("capture-pane", "-p")

    def until(self, part: str, seconds: float = 60.0) -> str:
        wait_for(lambda: part in self.screen(), seconds, self.screen)
        return self.screen()

    def mode(self) -> str:
        """Whether the alternate screen is on, whether the mouse is reported, whether the cursor is shown."""
        return self._call("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").strip()

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], check=False, capture_output=True)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_a_real_terminal(store: Store) -> None:
    add_run(store.root, "20260101-000001-look-0001", ["clip_higher"], name="look at [me]")
    terminal = Tmux(store, 80, 24)
    try:
        terminal.until("prompt>")
        terminal.type(f"{sys.executable} -m dapoctl tui; echo code $?", "Enter")
        text = terminal.until("look at [me]")
        assert "1 Runs" in text
        assert "runs go on" in text
        terminal.type("?")
        terminal.until("runs.compare")
        terminal.type("Escape")
        wait_for(lambda: "runs.compare" not in terminal.screen())
        terminal.type("C-q")
        text = terminal.until("code 0")
        assert "1 Runs" not in text
        wait_for(lambda: terminal.mode() == "0 0 1", 10, terminal.mode)
        terminal.type("echo typ''ed", "Enter")
        terminal.until("typed")
    finally:
        terminal.close()
