"""The queue: order, reasons, and what several processes do to it at once."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from dapoctl.errors import UserError
from dapoctl.runs.jobs.leases import Device, devices, give_back, holder, lease
from dapoctl.runs.jobs.queue import changing, drop, enqueue, hold, move
from dapoctl.runs.jobs.scheduler import Decision, decide
from dapoctl.runs.processes import run_starter
from dapoctl.runs.tickets import Ticket, state, tickets

SLOTS = [Device(f"slot-{index}", f"slot {index}") for index in range(2)]
GPUS = [Device(f"GPU-{index}", f"GPU {index}", "H100", total=80 * 2**30, is_gpu=True) for index in range(4)]


def ticket(run: str, need: int = 1, priority: int = 0, order: float = 0.0, **more: object) -> Ticket:
    return Ticket(run, 1, priority, need, order=order, **more)  # type: ignore[arg-type]


def given(decisions: list[Decision]) -> dict[str, list[str]]:
    return {each.ticket.run: [device.key for device in each.devices] for each in decisions}


def test_devices_go_in_order() -> None:
    found = decide([ticket("a"), ticket("b"), ticket("c")], SLOTS, {})
    assert given(found) == {"a": ["slot-0"], "b": ["slot-1"], "c": []}
    assert found[2].why.startswith("waits for 1 slot")


def test_a_large_run_is_not_starved_by_small_ones() -> None:
    found = decide([ticket("large", 2), ticket("small"), ticket("smaller")], SLOTS, {"slot-0": "leased by x"})
    assert given(found) == {"large": [], "small": [], "smaller": []}
    assert found[0].why == "waits for 2 slots: slot 0 leased by x"
    assert found[1].why == "waits for 1 slot: slot 0 leased by x; 1 free, kept for `large` ahead of it"


def test_a_run_that_can_never_start_blocks_nobody() -> None:
    found = decide([ticket("huge", 3), ticket("held", held=True), ticket("small")], SLOTS, {})
    assert given(found) == {"huge": [], "held": [], "small": ["slot-0"]}
    assert found[0].why == "needs 3 slots; this machine has 2"
    assert "held by hand" in found[1].why


def test_a_run_that_may_have_only_some_gpus_keeps_only_these() -> None:
    line = [ticket("mine", only=("GPU-1",)), ticket("any", 2)]
    found = decide(line, GPUS[:3], {"GPU-1": "leased by x"})
    assert given(found) == {"mine": [], "any": ["GPU-0", "GPU-2"]}
    assert found[0].why == "waits for 1 GPU: GPU 1 leased by x"


def test_order_is_priority_then_time(tmp_path: Path) -> None:
    for run, priority in (("first", 0), ("second", 0), ("urgent", 5), ("third", 0), ("last", -1)):
        enqueue(tmp_path, ticket(run, priority=priority))
    assert [each.run for each in tickets(tmp_path)] == ["urgent", "first", "second", "third", "last"]
    with pytest.raises(UserError, match="already queued"):
        enqueue(tmp_path, ticket("first"))


def test_moving_and_dropping(tmp_path: Path) -> None:
    for run in "abcd":
        enqueue(tmp_path, ticket(run))

    def line() -> str:
        return "".join(each.run for each in tickets(tmp_path))

    for run, to, after in (
        ("d", "top", "dabc"),
        ("a", "down", "dbac"),
        ("c", "up", "dbca"),
        ("d", "bottom", "bcad"),
        ("d", "2", "bdca"),
        ("b", "up", "bdca"),
        ("a", "99", "bdca"),
    ):
        move(tmp_path, run, to)
        assert line() == after, (run, to)
    with pytest.raises(UserError, match="sideways"):
        move(tmp_path, "a", "sideways")
    drop(tmp_path, "d")
    assert line() == "bca"
    with pytest.raises(UserError, match="is not in the queue; these are: b, c, a"):
        drop(tmp_path, "d")


def test_holding_one_and_all(tmp_path: Path) -> None:
    enqueue(tmp_path, ticket("a"))
    hold(tmp_path, "a")
    assert tickets(tmp_path)[0].held
    hold(tmp_path)
    assert (state(tmp_path).held, state(tmp_path).why) == (True, "held by hand")
    hold(tmp_path, held=False)
    hold(tmp_path, "a", held=False)
    assert not tickets(tmp_path)[0].held
    assert not state(tmp_path).held


def test_after_a_restart_the_queue_is_held(tmp_path: Path) -> None:
    enqueue(tmp_path, ticket("a"))
    path = tmp_path / ".queue" / "state.json"
    values = json.loads(path.read_text())
    values["boots"] = dict.fromkeys(values["boots"], "an earlier boot")
    path.write_text(json.dumps(values))
    with changing(tmp_path):
        pass
    assert (state(tmp_path).held, state(tmp_path).why) == (True, "this machine was restarted")
    hold(tmp_path, held=False)
    with changing(tmp_path):
        pass
    assert not state(tmp_path).held


def test_an_empty_queue_is_not_held_after_a_restart(tmp_path: Path) -> None:
    enqueue(tmp_path, ticket("a"))
    drop(tmp_path, "a")
    path = tmp_path / ".queue" / "state.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"boots": dict.fromkeys(values["boots"], "an earlier boot")}))
    enqueue(tmp_path, ticket("b"))
    assert not state(tmp_path).held


def test_damaged_tickets_are_left_out(tmp_path: Path) -> None:
    enqueue(tmp_path, ticket("a"))
    (tmp_path / ".queue" / "b.json").write_text('{"run": "b", "att')
    (tmp_path / ".queue" / "c.json").write_text("[]")
    whole = json.loads((tmp_path / ".queue" / "a.json").read_text())
    for name, change in {"d": {"run": "../d"}, "e": {"run": "a"}, "f": {"need": math.inf}, "g": {"order": math.nan},
                         "h": {"queued": -math.inf}}.items():  # fmt: skip
        (tmp_path / ".queue" / f"{name}.json").write_text(json.dumps(whole | {"run": name} | change))
    (tmp_path / ".queue" / "i.json").write_text("[" * 100_000)
    assert [each.run for each in tickets(tmp_path)] == ["a"]


@pytest.mark.process
def test_many_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from dapoctl.runs.jobs.queue import Ticket, enqueue
for index in range(10):
    enqueue(Path(sys.argv[1]), Ticket(f"{sys.argv[2]}-{index}", 1))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "abcde"]
    assert [process.wait() for process in processes] == [0] * 5
    found = tickets(tmp_path)
    assert len(found) == 50
    assert len({each.order for each in found}) == 50
    for name in "abcde":
        assert [each.run for each in found if each.run[0] == name] == [f"{name}-{index}" for index in range(10)]


def test_leases_are_of_one_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPOCTL_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("DAPOCTL_SLOTS", "3")
    there = devices()
    assert [device.label for device in there] == ["slot 0", "slot 1", "slot 2"]
    got = lease(there[0], "a run")
    assert got is not None
    assert lease(there[0], "another") is None
    assert [holder(device) for device in there] == ["a run", "", ""]
    # What others leave beside it: of earlier leases, of the future, of other types.
    for uid, record in enumerate(
        ({"run": "b", "since": 1.0}, {"run": "c", "since": 1e300}, {"run": "d", "since": 10**400}, [1])
    ):
        (tmp_path / "leases" / f"dapoctl-slot-0.9000{uid}.json").write_text(json.dumps(record))
    assert holder(there[0]) == "a run"
    give_back([got])
    assert holder(there[0]) == ""


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_slots_are_a_count(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPOCTL_SLOTS", text)
    with pytest.raises(UserError, match="DAPOCTL_SLOTS"):
        devices()


@pytest.mark.process
@pytest.mark.parametrize(
    ("source", "failure"),
    [
        ("", ""),
        ("import sys; print('not here', file=sys.stderr); sys.exit(3)", "not here"),
        ("import sys; print('or there'); sys.exit(3)", "or there"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ],
)
def test_a_starter_says_why_it_did_not_start(source: str, failure: str) -> None:
    assert run_starter([sys.executable, "-c", source], 30.0, stdout=subprocess.PIPE) == failure


def test_a_starter_that_is_not_there_or_takes_too_long() -> None:
    assert "No such file or directory" in run_starter(["/nowhere/python"], 30.0)
    assert "timed out" in run_starter([sys.executable, "-c", "import time; time.sleep(30)"], 0.2)
