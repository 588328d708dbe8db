"""Work in threads for a screen: the newest of a group is drawn, what goes wrong becomes a card."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dapoctl.tui.screen import GivenUp, WorkbenchScreen, give_up_unless_wanted, is_wanted
from tests.support.tui import NARROW, View, bench, play


class Gate:
    """Jobs that wait to be let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []
        self.drawn: list[str] = []
        self.wanted: dict[str, bool] = {}

    def job(self, name: str) -> Callable[[], str]:
        """A job that ends once the gate is open."""

        def work() -> str:
            self.begun.append(name)
            assert self.open.wait(30)
            self.wanted[name] = is_wanted()
            return name

        return work


def played(tmp_path: Path, story: Callable[[View, WorkbenchScreen, Gate], object]) -> Gate:
    """Play `story` on the first screen; the gate that its jobs waited at."""
    gate = Gate()

    async def whole() -> None:
        async with bench(tmp_path / "runs", NARROW) as view:
            front = view.app.front
            assert front is not None
            await story(view, front, gate)  # type: ignore[misc]

    play(whole())
    return gate


def test_a_newer_job_of_the_group_takes_the_place_of_the_one_that_is_not_done(tmp_path: Path) -> None:
    async def story(view: View, screen: WorkbenchScreen, gate: Gate) -> None:
        screen.work(gate.job("old"), gate.drawn.append, "group")
        await view.until(lambda _text: gate.begun)
        screen.work(gate.job("other"), gate.drawn.append, "another group")
        screen.work(gate.job("new"), gate.drawn.append, "group")
        gate.open.set()
        await view.until(lambda _text: len(gate.drawn) == 2 and len(gate.wanted) == 3)
        await view.pilot.pause(0.1)

    gate = played(tmp_path, story)
    assert sorted(gate.drawn) == ["new", "other"]
    assert gate.wanted == {"old": False, "other": True, "new": True}


def test_a_job_can_be_left_to_the_one_that_is_not_done(tmp_path: Path) -> None:
    async def story(view: View, screen: WorkbenchScreen, gate: Gate) -> None:
        screen.work(gate.job("first"), gate.drawn.append, "group")
        screen.work(gate.job("second"), gate.drawn.append, "group", unless_busy=True)
        assert screen.is_busy("group")
        gate.open.set()
        await view.until(lambda _text: gate.drawn)
        assert not screen.is_busy("group")
        screen.work(gate.job("third"), gate.drawn.append, "group", unless_busy=True)
        await view.until(lambda _text: len(gate.drawn) == 2)

    assert played(tmp_path, story).drawn == ["first", "third"]


def test_nothing_is_drawn_of_a_job_that_was_given_up(tmp_path: Path) -> None:
    async def story(view: View, screen: WorkbenchScreen, gate: Gate) -> None:
        screen.work(gate.job("one"), gate.drawn.append, "group")
        await view.until(lambda _text: gate.begun)
        screen.give_up("group")
        gate.open.set()
        await view.until(lambda _text: gate.wanted)
        await view.pilot.pause(0.1)

    gate = played(tmp_path, story)
    assert (gate.drawn, gate.wanted) == ([], {"one": False})


@pytest.mark.parametrize(
    ("error", "drawing"),
    [(ValueError("no such thing"), False), (ValueError("no such thing"), True), (SystemExit("no such thing"), False)],
)
def test_what_a_job_or_its_drawing_raises_becomes_a_card(error: BaseException, drawing: bool, tmp_path: Path) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    async def story(view: View, screen: WorkbenchScreen, _gate: Gate) -> None:
        screen.work(lambda: None, fail, "group") if drawing else screen.work(fail, lambda _result: None, "group")
        await view.until("no such thing")
        await view.until("something went wrong")
        assert not screen.is_busy("group")

    played(tmp_path, story)


def test_outside_of_a_job_everything_is_wanted() -> None:
    assert is_wanted()
    give_up_unless_wanted()
    assert issubclass(GivenUp, Exception)
