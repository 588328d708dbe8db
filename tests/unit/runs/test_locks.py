"""Locks and processes: what the kernel says of who lives, and whom a signal may reach.

Processes: locks are between them.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.processes import MARK, Identity, family, kill_family, send
from tests.support.background import wait_for

pytestmark = pytest.mark.process

HOLD = """
import sys
from pathlib import Path
from dapoctl.runs.locks import try_lock
assert try_lock(Path(sys.argv[1])) is not None
print("held", flush=True)
sys.stdin.read()
"""


def holding(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_ends_with_its_holder_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    process = holding(path)
    assert is_locked(path)
    assert try_lock(path) is None
    process.kill()
    process.communicate()
    assert not is_locked(path)
    mine = try_lock(path)
    assert mine is not None
    assert is_locked(path)
    release(mine)
    assert not is_locked(path)


def test_looking_never_keeps_anyone_from_taking(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    look = f"from pathlib import Path\nfrom dapoctl.runs.locks import is_locked\nwhile True: is_locked(Path({str(path)!r}))"
    path.touch()
    lookers = [subprocess.Popen([sys.executable, "-c", look]) for _ in range(2)]
    try:
        for _ in range(300):
            mine = try_lock(path)
            assert mine is not None
            release(mine)
    finally:
        for looker in lookers:
            looker.kill()
            looker.wait()


def test_a_child_that_inherits_a_lock_holds_it(tmp_path: Path) -> None:
    mine = try_lock(tmp_path / "lock")
    assert mine is not None
    child = subprocess.Popen(["sleep", "60"], pass_fds=[mine])
    release(mine)
    assert is_locked(tmp_path / "lock")
    child.kill()
    child.wait()
    assert not is_locked(tmp_path / "lock")


def start(code: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **environment})


def lines(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_family_is_found_wherever_it_hides(tmp_path: Path) -> None:
    """A grandchild in a session of its own, one whose parent is gone, one that cleared its environment."""
    pids = tmp_path / "pids"
    code = f"""
import os, subprocess, sys, time
def note(pid):
    with open({str(pids)!r}, "a") as file:
        print(pid, file=file)
note(os.getpid())
note(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
note(subprocess.Popen(["env", "-i", "sleep", "600"], start_new_session=True).pid)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note(os.getpid())
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""
    member = start(code, **{MARK: "run/1/a"})
    stranger = start("import time; time.sleep(600)", **{MARK: "run/1/b"})
    unmarked = start("import time; time.sleep(600)")
    try:
        wait_for(lambda: len(lines(pids)) == 4)
        wait_for(lambda: all(psutil.Process(pid).name() != "env" for pid in lines(pids)))
        assert {process.pid for process in family("run/1/a")} == {*lines(pids)}
        assert kill_family("run/1/a") == 4
        member.wait()
        assert not [pid for pid in lines(pids) if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        assert stranger.poll() is None
        assert unmarked.poll() is None
    finally:
        for process in (member, stranger, unmarked):
            process.kill()
            process.wait()


def test_what_descends_is_a_member_unless_it_has_another_mark() -> None:
    code = "import os, subprocess, sys\n"
    code += f"subprocess.Popen(['sleep', '600'], env={{{MARK!r}: 'other/1/x'}})\n"
    code += "subprocess.Popen(['sleep', '601'], env={})\nsys.stdin.read()"
    root = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        children = wait_for(lambda: len(found := psutil.Process(root.pid).children()) == 2 and found)
        wait_for(lambda: all(child.name() == "sleep" for child in children))
        known = Identity.of(root.pid)
        named = {process.cmdline()[-1] for process in family("run/1/a", [known]) if process.pid != root.pid}
        assert named == {"601"}
        assert family("", []) == []
    finally:
        for process in [*psutil.Process(root.pid).children(), psutil.Process(root.pid)]:
            process.kill()
        root.communicate()


def test_a_recycled_pid_is_nobody_we_know() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        right = Identity.of(child.pid)
        assert right.find() is not None
        assert Identity.read(right.as_dict()) == right
        for wrong in (
            dataclasses.replace(right, ticks=right.ticks - 1),
            dataclasses.replace(right, ticks=0, create_time=right.create_time - 100),
            dataclasses.replace(right, boot_id="another"),
            dataclasses.replace(right, host="elsewhere"),
        ):
            assert wrong.find() is None
            assert family("nobody", [wrong]) == []
    finally:
        child.kill()
        child.wait()


def test_a_signal_reaches_only_the_process_that_was_meant() -> None:
    child = subprocess.Popen(["sleep", "600"])
    process = psutil.Process(child.pid)
    assert send(process, signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM
    assert not send(process, signal.SIGTERM)
