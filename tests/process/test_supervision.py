"""Runs in the background: they outlive who started them, end when told, and say how they ended.

Processes: supervisors, trainers, their signals and what outlives them are the subject. Slow ones: each trainer imports torch
and transformers, four seconds. `make test` has one that finishes, one that is killed, one that is deaf and one that cannot
begin.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from dapoctl.runs.attempts import attempts
from dapoctl.runs.files import read_json
from dapoctl.runs.locks import is_locked
from dapoctl.runs.state import standing
from dapoctl.runs.summary import read_run
from tests.support.background import (
    LONG,
    SHORT,
    Store,
    plant_traps,
    processes_left,
    supervisor_of,
    trainer_of,
    wait_for,
    wait_for_state,
    wait_for_step,
)
from tests.support.helpers import plugin_file

pytestmark = pytest.mark.process

IDEA = """
from dapoctl import Component, hookimpl

class Idea(Component):
    @hookimpl
    def on_step_end(self, step, metrics):
        pass
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def test_a_detached_run_finishes_and_says_everything(store: Store) -> None:
    trace = plant_traps(store.cwd)
    (store.cwd / "idea.py").write_text(IDEA)
    directory = store.run("--detach", "--plugins", "./idea.py")
    assert read_run(directory).state in ("starting", "running")
    summary = wait_for_state(directory, "finished", "failed")
    assert (summary.state, summary.step) == ("finished", 3)
    assert not trace.exists()
    assert "idea" in summary.components
    wait_for(lambda: not is_locked(directory / ".lock"))
    ended = read_json(directory / "attempts" / "1" / "exit.json")
    assert (ended["state"], ended["code"], ended["signal"], ended["processes_killed"]) == ("finished", 0, "", 0)
    process = read_json(directory / "attempts" / "1" / "proc.json")
    assert process["devices"] == [{"key": "slot-0", "label": "slot 0", "gpu": False}]
    log = store.call("runs", "logs", "last").stdout
    assert "step 3/3" in log
    assert "Finished all 3 steps" in log
    assert store.json("gpus")[0]["lease"] == ""


@pytest.mark.slow
def test_the_starter_and_its_terminal_may_die(store: Store) -> None:
    """A shell on a terminal of its own starts a run; then the shell is killed and the terminal closed."""
    terminal, inside = pty.openpty()
    command = f"{sys.executable} -m dapoctl run --detach {' '.join(settings(*LONG))}; echo started; exec sleep 600"
    shell = subprocess.Popen(
        ["sh", "-c", command],
        cwd=store.cwd,
        env=store.env,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    wait_for(lambda: store.root.is_dir() and any(store.root.glob("2*")))
    directory = next(store.root.glob("2*"))
    wait_for_step(directory, 1)
    shell.kill()
    shell.wait()
    os.close(terminal)
    before = read_run(directory).step
    wait_for_step(directory, before + 2)
    assert store.call("runs", "stop", "last").stdout.startswith("stopped")
    assert not processes_left(directory)


@pytest.mark.slow
def test_a_busy_slot_refuses_and_says_by_whom(store: Store) -> None:
    first = store.run("--detach", settings=LONG)
    done = store.call("run", "--detach", *settings(*SHORT), code=2)
    assert f"waits for 1 slot: slot 0 leased by {first.name}" in done.stderr
    assert "--queue" in done.stderr
    assert store.ids() == [first.name]
    queued = store.run("--queue")
    assert read_run(queued).state == "queued"
    assert first.name in store.json("queue", "list")["waiting"][0]["why"]
    store.call("runs", "stop", first.name)
    # The ending supervisor starts the next run.
    assert wait_for_state(queued, "finished", "failed").state == "finished"


@pytest.mark.slow
def test_stopped_with_a_checkpoint_and_resumed(store: Store) -> None:
    directory = store.run("--detach", settings=("steps=60", *LONG[1:-1]))
    wait_for_step(directory, 2)
    [stopped] = store.json("runs", "stop", "last")
    assert stopped["state"] == "stopped"
    summary = read_run(directory)
    assert summary.state == "stopped"
    assert (directory / "checkpoints" / "latest").read_text().strip() == f"step_{summary.step}"
    assert not processes_left(directory)
    done = store.call("runs", "stop", "last", code=2)
    assert "is not running: it is stopped" in done.stderr
    store.call("runs", "resume", "last", "--detach")
    assert wait_for_state(directory, "finished", "failed").state == "finished"
    assert [path.name for path in attempts(directory)] == ["1", "2"]
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()[1:]]
    assert [row["step"] for row in rows] == [*range(1, 61)]


@pytest.mark.slow
def test_a_killed_supervisor_leaves_a_lost_run_that_can_be_stopped_and_resumed(store: Store) -> None:
    directory = store.run("--detach", settings=LONG)
    wait_for_step(directory, 1)
    trainer = trainer_of(directory)
    supervisor_of(directory).kill()
    summary = wait_for_state(directory, "lost")
    assert f"its processes still run (PID {trainer.pid})" in summary.why
    assert trainer.is_running()
    # Its device is still in use.
    assert store.json("gpus")[0]["lease"] == directory.name
    assert "still run" in store.call("runs", "resume", "last", code=2).stderr
    assert "being worked on" in store.call("runs", "rm", "last", "--yes", code=2).stderr
    [stopped] = store.json("runs", "stop", "last")
    assert stopped["state"] == "stopped"
    assert not processes_left(directory)
    assert store.json("gpus")[0]["lease"] == ""
    store.call("runs", "resume", "last", "--detach")
    before = read_run(directory).step
    wait_for_step(directory, before + 1)
    store.call("runs", "stop", "last", "--grace", "0")
    assert not processes_left(directory)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
def test_a_killed_trainer_is_failed_with_its_signal(store: Store, number: signal.Signals) -> None:
    directory = store.run("--detach", settings=LONG)
    wait_for_step(directory, 1)
    trainer_of(directory).send_signal(number)
    summary = wait_for_state(directory, "failed")
    assert summary.why == f"killed by {number.name}"
    ended = read_json(directory / "attempts" / "1" / "exit.json")
    assert (ended["signal"], ended["code"], ended["out_of_memory"]) == (number.name, None, False)


GREEDY = """
    import torch
    from dapoctl import Component, hookimpl

    class Greedy(Component):
        '''Take more memory than there is.'''

        @hookimpl
        def on_step_end(self, step):
            torch.ones(10**15)
"""


@pytest.mark.slow
def test_memory_that_torch_cannot_have_is_told_apart(store: Store) -> None:
    path = plugin_file(store.cwd, GREEDY)
    directory = store.run("--detach", "--plugins", f"{path}:Greedy")
    summary = wait_for_state(directory, "failed")
    assert "out of memory (system)" in summary.why
    assert "`greedy`" in summary.why
    assert "dapoctl doctor" in summary.why
    wait_for(lambda: not is_locked(directory / ".lock"))
    ended = read_json(directory / "attempts" / "1" / "exit.json")
    assert (ended["out_of_memory"], ended["code"]) == (True, 1)


CROWDED = """
    import os
    from pathlib import Path
    from dapoctl import Component, hookimpl

    class Crowded(Component):
        '''Move into a group of processes with little memory, and use more of it.'''

        group: str
        '''Its folder.'''

        @hookimpl
        def on_step_end(self, step):
            Path(self.group, "cgroup.procs").write_text(str(os.getpid()))
            block = bytearray(os.urandom(1)) * (400 * 2**20)
"""


@pytest.fixture
def small_memory() -> Path:
    """A control group with 64 MiB."""
    own = Path("/proc/self/cgroup").read_text().splitlines()
    named = next((line.split(":")[2] for line in own if line.split(":")[1] == "memory"), None)
    base = Path(f"/sys/fs/cgroup/memory{named}") if named is not None else Path("/sys/fs/cgroup")
    group = base / f"dapoctl-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if named is not None else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(64 * 2**20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text().split())
    group.rmdir()


@pytest.mark.slow
def test_the_kernels_word_that_memory_ran_out_is_heard(store: Store, small_memory: Path) -> None:
    path = plugin_file(store.cwd, CROWDED)
    directory = store.run("--detach", "--plugins", f"{path}:Crowded", "--set", f"crowded.group={small_memory}")
    summary = wait_for_state(directory, "failed")
    assert "out of memory" in summary.why
    wait_for(lambda: not is_locked(directory / ".lock"))
    ended = read_json(directory / "attempts" / "1" / "exit.json")
    assert (ended["signal"], ended["out_of_memory"]) == ("SIGKILL", True)


STUBBORN = """
    import os, signal, subprocess, time
    from dapoctl import Component, hookimpl

    class Stubborn(Component):
        '''Ignore SIGTERM, and have descendants in sessions of their own.'''

        @hookimpl
        def on_step_end(self, step):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if step == 1:
                subprocess.Popen(["sleep", "3600"], start_new_session=True)
                subprocess.Popen(["env", "-i", "sleep", "3601"], start_new_session=True)
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        signal.signal(signal.SIGTERM, signal.SIG_IGN)
                        os.execvp("sh", ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"])
                    os._exit(0)
"""


@pytest.mark.slow
def test_nothing_is_left_of_a_stubborn_run_and_nobody_else_is_hit(store: Store) -> None:
    path = plugin_file(store.cwd, STUBBORN)
    bystander = subprocess.Popen(["sleep", "3602"], start_new_session=True)
    directory = store.run("--detach", "--plugins", f"{path}:Stubborn", settings=LONG)
    wait_for_step(directory, 2)
    trainer = trainer_of(directory)
    wait_for(lambda: len(trainer.children(recursive=True)) >= 2)
    begun = time.monotonic()
    [stopped] = store.json("runs", "stop", "last", "--grace", "2")
    assert 2 <= time.monotonic() - begun < 20
    assert stopped["state"] == "stopped"
    assert "did not end in time" in stopped["words"]
    assert not processes_left(directory)
    names = [process.info["cmdline"] for process in psutil.process_iter(["cmdline", "status"])]
    assert ["sleep", "3600"] not in names
    assert ["sleep", "3601"] not in names
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


@pytest.mark.slow
def test_a_second_more_urgent_wish_is_heard(store: Store) -> None:
    path = plugin_file(store.cwd, STUBBORN)
    directory = store.run("--detach", "--plugins", f"{path}:Stubborn", settings=LONG)
    wait_for_step(directory, 2)
    assert store.json("runs", "stop", "last", "--no-wait")[0]["state"] == "stopping"
    wait_for_state(directory, "stopping")
    begun = time.monotonic()
    assert store.json("runs", "stop", "last", "--grace", "0")[0]["state"] == "stopped"
    assert time.monotonic() - begun < 30
    assert not processes_left(directory)


@pytest.mark.slow
def test_a_recycled_pid_is_never_signalled(store: Store) -> None:
    """A record that names a PID which now belongs to somebody else: nothing happens to that process."""
    directory = store.run("--detach")
    wait_for_state(directory, "finished", "failed")
    wait_for(lambda: not is_locked(directory / ".lock"))
    bystander = subprocess.Popen(["sleep", "3602"])
    folder = directory / "attempts" / "1"
    planted = read_json(folder / "proc.json")
    planted |= {"pid": bystander.pid, "supervisor": planted["supervisor"] | {"pid": bystander.pid}}
    (folder / "proc.json").write_text(json.dumps(planted))
    (folder / "exit.json").unlink()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from dapoctl.runs.locks import try_lock\n"
         "try_lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()", str(directory / ".writer")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert read_run(directory).state == "lost"
    stopping = subprocess.Popen(
        [sys.executable, "-m", "dapoctl", "runs", "stop", "last", "--grace", "1"], env=store.env, cwd=store.cwd
    )
    time.sleep(2)
    assert bystander.poll() is None
    holder.communicate("")
    stopping.wait(timeout=60)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


@pytest.mark.slow
def test_a_run_in_the_foreground_can_be_stopped_from_elsewhere(store: Store) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dapoctl", "run", *settings(*LONG)],
        cwd=store.cwd,
        env=store.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: store.root.is_dir() and any(store.root.glob("2*")))
    directory = next(store.root.glob("2*"))
    wait_for_step(directory, 1)
    assert "is already running" in store.call("runs", "resume", "last", code=2).stderr
    [stopped] = store.json("runs", "stop", "last")
    assert process.communicate()[0]
    assert stopped["state"] == "stopped", read_run(directory).why
    assert process.returncode == 130
    assert "step 1/5000" in store.call("runs", "logs", "last").stdout


@pytest.mark.slow
def test_a_closed_terminal_stops_a_run_in_front_with_a_checkpoint(store: Store) -> None:
    """What a lost ssh connection does: the terminal is gone, and the kernel sends SIGHUP."""
    terminal, inside = pty.openpty()
    # Whoever tests may do so under nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "dapoctl", "run", *settings("steps=5000", *SHORT[1:])],
        cwd=store.cwd,
        env=store.env | {"TERM": "xterm"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    signal.signal(signal.SIGHUP, before)
    os.close(inside)
    threading.Thread(target=drain, args=(terminal,), daemon=True).start()
    try:
        wait_for(lambda: store.root.is_dir() and any(store.root.glob("2*")))
        directory = next(store.root.glob("2*"))
        wait_for_step(directory, 2)
        os.close(terminal)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    summary = read_run(directory)
    assert summary.state == "stopped", summary.why
    assert (directory / "checkpoints" / "latest").read_text().strip() == f"step_{summary.step}"
    assert f"dapoctl runs resume {directory.name}" in store.call("runs", "logs", "last").stdout
    assert not processes_left(directory)


def drain(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


LEAVES = """
    import subprocess
    from dapoctl import Component, hookimpl

    class Leaves(Component):
        '''Start what an engine starts: a process that does not end with the trainer.'''

        @hookimpl
        def on_run_start(self):
            subprocess.Popen(["sleep", "3603"], start_new_session=True)
"""


@pytest.mark.slow
def test_what_outlives_supervisor_and_trainer_is_ended_before_the_run_goes_on(store: Store) -> None:
    path = plugin_file(store.cwd, LEAVES)
    directory = store.run("--detach", "--plugins", f"{path}:Leaves", settings=LONG)
    wait_for_step(directory, 1)
    try:
        supervisor, trainer = supervisor_of(directory), trainer_of(directory)
        supervisor.kill()
        trainer.kill()
        wait_for(lambda: not is_locked(directory / ".writer"))
        wait_for_state(directory, "lost")
        (left,) = store.json("runs", "show", "last")["outlived"]
        assert psutil.Process(left).cmdline() == ["sleep", "3603"]
        assert f"(PID {left})" in store.call("runs", "resume", "last", "--detach", code=2).stderr
        assert "1 process that outlived them" in store.call("runs", "stop", "last").stdout
        assert not processes_left(directory)
        store.call("runs", "resume", "last", "--detach")
        wait_for_step(directory, read_run(directory).step + 1)
        store.call("runs", "stop", "last", "--grace", "0")
    finally:
        for process in processes_left(directory):
            process.kill()


@pytest.mark.slow
def test_a_silent_run_is_stalled(store: Store) -> None:
    directory = store.run("--detach", settings=LONG)
    wait_for_step(directory, 1)
    assert standing(directory).state == "running"
    trainer = trainer_of(directory)
    trainer.suspend()
    later = standing(directory, now=time.time() + 1000)
    assert later.state == "stalled"
    assert "no word for 17 min" in later.why
    trainer.resume()
    store.call("runs", "stop", "last")


def test_a_run_that_cannot_be_started_says_so(store: Store) -> None:
    elsewhere = store.cwd / "elsewhere"
    elsewhere.mkdir()
    first = store.run("--detach", settings=LONG)
    second = store.cwd
    store.cwd = elsewhere
    queued = store.run("--queue")
    store.cwd = second
    shutil.rmtree(elsewhere)
    store.call("runs", "stop", first.name)
    summary = wait_for_state(queued, "failed")
    assert "the folder it was started in" in summary.why
    assert str(elsewhere) in summary.why
    assert store.json("queue", "list")["waiting"] == []


@pytest.mark.slow
def test_logs_follow_to_the_end(store: Store) -> None:
    directory = store.run("--detach", settings=LONG)
    wait_for_step(directory, 1)
    follower = subprocess.Popen(
        [sys.executable, "-m", "dapoctl", "runs", "logs", "last", "-f", "-n", "0"],
        env=store.env,
        cwd=store.cwd,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    assert follower.stdout.readline().startswith("step ")
    store.call("runs", "stop", "last")
    followed, _ = follower.communicate(timeout=60)
    assert "Stopped after step" in followed
    assert "has attempts 1 to 1" in store.call("runs", "logs", "last", "--attempt", "7", code=2).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--detach", "--queue"), "choose one"),
        (("--priority", "3"), "add --queue"),
        (("--gpus", "2"), "add --detach or --queue"),
        (("--detach", "--gpus", "7"), "--gpus 7: this machine has 1"),
        (("--detach", "--profile"), "leave out --detach and --queue"),
    ],
)
def test_options_that_cannot_be(store: Store, options: tuple[str, ...], words: str) -> None:
    if words.startswith("--gpus 7") and psutil.LINUX and Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has GPUs")
    done = store.call("run", *options, *settings(*SHORT), code=2)
    assert words in done.stderr
    assert not store.root.exists()
