"""The process that waits with the runs of a store: what it looks at, when it goes, and that there is one.

Processes where that is the subject. What starts a run's supervisor is replaced but in the last test.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dapoctl.errors import StorageError, UserError
from dapoctl.runs.attempts import write_failure
from dapoctl.runs.jobs import gpus, scheduler
from dapoctl.runs.jobs import waiter as waiting
from dapoctl.runs.jobs.leases import devices, give_back, lease
from dapoctl.runs.jobs.queue import changing, drop, enqueue, hold
from dapoctl.runs.jobs.waiter import WaiterError, ensure_waiter, wait, waiter
from dapoctl.runs.locks import is_locked, try_lock
from dapoctl.runs.processes import MARK, SUPERVISOR
from dapoctl.runs.tickets import Ticket, ticket_file, tickets
from tests.support.background import Store, wait_for
from tests.support.stores import add_run

RUN = "20260101-000000-a-0001"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which a run waits, on a machine with one slot."""
    monkeypatch.setenv("DAPOCTL_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("DAPOCTL_SLOTS", "1")
    monkeypatch.setattr(waiting, "LOOK", 0.01)
    add_run(tmp_path / "runs", RUN, done=0, state=None)
    enqueue(tmp_path / "runs", Ticket(RUN, 1))
    return tmp_path / "runs"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose supervisor was to be started."""
    found: list[str] = []

    def launch(directory: Path, number: int, *_: object) -> None:
        found.append(directory.name)
        write_failure(directory, number, "only a test")

    monkeypatch.setattr(scheduler, "launch", launch)
    return found


class Waiting:
    """The waiter's loop, in a thread of this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        lock = try_lock(waiting._lock_of(root))
        assert lock is not None
        self.thread = threading.Thread(target=wait, args=(root, lock), daemon=True)
        self.thread.start()

    @property
    def gone(self) -> bool:
        self.thread.join(0.2)
        return not self.thread.is_alive()

    def end(self) -> None:
        """However the test ended."""
        for ticket in tickets(self.root):
            with contextlib.suppress(UserError):
                # It may just have been started.
                drop(self.root, ticket.run)
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_another_stores_run_ends_and_nobody_types(root: Path, launched: list[str]) -> None:
    other = lease(devices()[0], "a run of another store")
    assert other is not None
    loop = Waiting(root)
    try:
        assert not loop.gone
        assert launched == []
        give_back([other])
        wait_for(lambda: launched, 10)
        wait_for(lambda: loop.gone, 10)
        assert launched == [RUN]
        assert waiter(root) is None
    finally:
        loop.end()


def test_a_strangers_process_lets_the_gpu_go(root: Path, launched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    total = 80 * 2**30
    free = [total - 5 * 2**30]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(
        gpus,
        "read",
        lambda: gpus.Nvml(gpus=(gpus.Gpu(0, "H100", total, free[0], uuid="GPU-0", processes=((4711, 1),)),)),
    )
    loop = Waiting(root)
    try:
        assert not loop.gone
        assert launched == []
        free[0] = total
        wait_for(lambda: launched, 10)
        wait_for(lambda: loop.gone, 10)
        assert launched == [RUN]
    finally:
        loop.end()


def store_removed(root: Path) -> None:
    root.rename(root.with_name("moved"))


@pytest.mark.parametrize(
    "ends",
    [
        lambda root: drop(root, RUN),
        hold,
        lambda root: hold(root, RUN),
        store_removed,
        lambda root: waiting._lock_of(root).unlink(),
    ],
    ids=["dropped", "held", "held by hand", "store gone", "another waiter's turn"],
)
def test_it_goes_when_there_is_nothing_to_wait_for(root: Path, ends: Callable[[Path], object]) -> None:
    other = lease(devices()[0], "a run of another store")
    assert other is not None
    loop = Waiting(root)
    try:
        assert not loop.gone
        ends(root)
        wait_for(lambda: loop.gone, 10)
        assert not root.with_name("moved").exists() or not root.exists(), "no store is made anew"
    finally:
        loop.end()
        give_back([other])


def test_nobody_waits_for_what_can_never_start_here(root: Path) -> None:
    drop(root, RUN)
    enqueue(root, Ticket(RUN, 1, need=2))
    ensure_waiter(root)
    assert waiter(root) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="a file is given to another user")
def test_nobody_waits_with_another_users_run(root: Path) -> None:
    os.chown(ticket_file(root, RUN), 65534, 65534)
    ensure_waiter(root)
    assert waiter(root) is None


def test_a_store_that_cannot_be_used_for_a_while(
    root: Path, launched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule, failures = waiting.schedule, iter([StorageError("no space left"), OSError(5, "Input/output error")])

    def troubled(root: Path, wait: bool = True) -> list[str]:
        for failure in failures:
            raise failure
        return schedule(root, wait)

    monkeypatch.setattr(waiting, "schedule", troubled)
    loop = Waiting(root)
    try:
        wait_for(lambda: launched, 10)
    finally:
        loop.end()


def test_what_cannot_wait_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WaiterError, match=r"no process could be started to wait with them .*No such file"):
        ensure_waiter(root)
    assert not is_locked(waiting._lock_of(root))
    assert [ticket.run for ticket in tickets(root)] == [RUN]


@pytest.mark.process
def test_there_is_one_that_outlives_its_starter(root: Path) -> None:
    other = lease(devices()[0], "a run of another store")
    assert other is not None
    starter = [sys.executable, "-c", "import sys; from pathlib import Path; from dapoctl.runs.jobs.waiter import "
               "ensure_waiter; ensure_waiter(Path(sys.argv[1]))", str(root)]  # fmt: skip
    mine = {**os.environ, MARK: "a trainer's"}
    starters = [subprocess.Popen(starter, start_new_session=True, env=mine, stdout=subprocess.PIPE) for _ in range(3)]
    # To the end of their output: the waiter must not hold it, or a shell would wait for that.
    assert [(each.communicate(timeout=60)[0], each.returncode) for each in starters] == [(b"", 0)] * 3
    pid = wait_for(lambda: waiter(root), 10)
    found = [p for p in psutil.process_iter(["cmdline"]) if str(root) in (p.info["cmdline"] or [])]
    assert [process.pid for process in found] == [pid]
    process = found[0]
    assert (os.getsid(pid), process.cwd()) == (pid, "/")
    assert process.environ()[MARK] == SUPERVISOR, "whoever ends the trainer's processes leaves it"
    os.kill(pid, signal.SIGHUP)
    assert process.is_running()
    process.kill()
    wait_for(lambda: waiter(root) is None, 10)
    assert not is_locked(waiting._lock_of(root))
    give_back([other])


@pytest.mark.process
@pytest.mark.slow
def test_a_run_starts_when_another_stores_run_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it: nobody types after `--queue`, and what waits with the queue is killed once."""
    store = Store(tmp_path)
    monkeypatch.setenv("DAPOCTL_LEASES", store.env["DAPOCTL_LEASES"])
    held = lease(devices()[0], "a run of another store")
    assert held is not None
    first, second = (store.run("--queue") for _ in range(2))
    listed = store.json("queue", "list")
    pid = listed["waiter"]
    assert len(listed["waiting"]) == 2
    assert f"PID {pid} waits with them" in store.call("queue", "list").stdout
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: waiter(store.root) is None, 10)
    assert "no process waits with them" in store.call("queue", "list").stderr
    store.call("queue", "release")
    assert waiter(store.root) not in (None, pid)
    give_back([held])
    for directory in (first, second):
        wait_for(lambda path=directory: (path / "attempts/1/proc.json").exists(), 60)
        store.call("runs", "stop", directory.name, "--grace", "0")
    wait_for(lambda: waiter(store.root) is None, 30)


def test_who_only_looks_at_a_queue_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"), changing(tmp_path / "gone", make=False):
        pass
    assert not (tmp_path / "gone").exists()
