"""Other users of the machine: what they put into a store or among the leases starts nothing, breaks nothing, hangs nothing.

Processes: users are told apart by the kernel, so another user's files are made by a process of that user.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dapoctl.errors import StorageError
from dapoctl.runs.files import write_json
from dapoctl.runs.jobs.leases import Device, devices, give_back, holder, lease
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.processes import Identity
from tests.support.background import SHORT, Store, wait_for
from tests.support.stores import add_run
from tests.support.users import (
    NAMELESS,
    NEIGHBOUR,
    STRANGER,
    as_user,
    only_root,
    public_folder,
    python_as,
    python_with_no_rights,
)

pytestmark = [pytest.mark.process, only_root]

SLOT = Device("slot-0", "slot 0")
VALUES = [part for text in SHORT for part in ("--set", text)]


@pytest.fixture
def street() -> Iterator[Path]:
    with public_folder() as folder:
        yield folder


@pytest.fixture
def store(street: Path) -> Store:
    (street / "mine").mkdir()
    return Store(street / "mine")


def planted(store: Store, street: Path) -> tuple[Path, Path]:
    """(A stranger's copy of a queued run of mine, what its Python would leave behind)."""
    store.call("queue", "hold")
    run = store.run("--queue")
    theirs, trace = street / "theirs", street / "mine" / "trace"
    as_user(STRANGER, "cp", "-r", store.root, theirs)
    evil = street / "evil"
    as_user(STRANGER, "sh", "-c", f"printf '#!/bin/sh\\n/bin/touch {trace}\\n' > {evil}; chmod 755 {evil}")
    edit = "import json, sys; from pathlib import Path; folder = Path(sys.argv[1])\n"
    edit += (
        "changes = (sys.argv[2] + '/launch.json', {'python': sys.argv[3]}), ('.queue/state.json', {'held': False})\n"
    )
    edit += "for name, change in changes:\n"
    edit += "    path = folder / name; path.write_text(json.dumps(json.loads(path.read_text()) | change))"
    python_as(STRANGER, edit, theirs, run.name, evil)
    return theirs / run.name, trace


def test_looking_at_a_strangers_store_starts_nothing_of_it(store: Store, street: Path) -> None:
    run, trace = planted(store, street)
    for command in (("runs", "list"), ("queue", "list"), ("queue", "release"), ("gpus",)):
        options = () if command == ("gpus",) else ("--runs-dir", str(run.parent))
        done = store.call(*command, *options)
        assert command == ("gpus",) or run.name in done.stdout
        if command == ("runs", "list"):
            assert f"`{run.name}` waits and was not started: it is not yours to start: " in done.stderr
    assert not trace.exists()
    [waiting] = store.json("queue", "list", "--runs-dir", str(run.parent))["waiting"]
    assert waiting["run"] == run.name
    assert waiting["why"].startswith("not yours to start: ")
    assert f"belongs to {STRANGER}" in waiting["why"]
    for words in (("resume", run.name, "--detach"), ("stop", run.name)):
        store.call("queue", "drop", run.name, "--runs-dir", str(run.parent), code=None)
        done = store.call("runs", *words, "--runs-dir", str(run.parent), code=None)
        assert not trace.exists(), words
    assert f"belongs to {STRANGER}" in done.stderr or "not running" in done.stderr


def test_a_stranger_in_front_of_the_queue_does_not_hold_it_up(store: Store, street: Path) -> None:
    """A ticket of theirs for more than there is, in a store that all may write to."""
    run, trace = planted(store, street)
    store.root.chmod(0o1777)
    (store.root / ".queue").chmod(0o1777)
    as_user(STRANGER, "cp", "-r", run, store.root / "20000101-000000-theirs-0000")
    ticket = json.loads((run.parent / ".queue" / f"{run.name}.json").read_text())
    ticket |= {"run": "20000101-000000-theirs-0000", "priority": 9, "order": 0}
    text = json.dumps(ticket)
    as_user(STRANGER, "sh", "-c", f"cat > {store.root}/.queue/20000101-000000-theirs-0000.json <<'EOF'\n{text}\nEOF")
    mine = run.name
    first, second = store.json("queue", "list")["waiting"]
    assert first["run"] == "20000101-000000-theirs-0000"
    assert second["run"] == mine
    assert "20000101" not in second["why"]
    done = store.call("queue", "move", "20000101-000000-theirs-0000", "bottom")
    done = store.call("queue", "hold", "20000101-000000-theirs-0000", code=2)
    assert "not yours to change" in done.stderr
    # It is started: with what would be no supervisor, to save the time of one.
    write_json(
        store.root / mine / "launch.json", json.loads((run / "launch.json").read_text()) | {"python": "/bin/false"}
    )
    store.call("queue", "release")
    assert "/bin/false" in (store.root / mine / "attempts" / "1" / "exit.json").read_text()
    assert not trace.exists()
    assert not (store.root / "20000101-000000-theirs-0000" / "attempts").exists()


@pytest.mark.parametrize("what", [".", "launch.json", "spec.json", "../.queue/{}.json"])
def test_what_others_can_write_is_not_started(store: Store, what: str) -> None:
    store.call("queue", "hold")
    run = store.run("--queue")
    path = run / what.format(run.name)
    path.chmod(path.stat().st_mode | 0o002)
    listed = store.json("queue", "release")
    assert listed["started"] == []
    assert "others can write" in listed["waiting"][0]["why"]
    assert "chmod go-w" in listed["waiting"][0]["why"]
    # Held first: as soon as it is nobody else's, who waits with the queue starts it.
    store.call("queue", "hold")
    path.chmod(path.stat().st_mode & ~0o002)
    assert "the queue is held" in store.json("queue", "list")["waiting"][0]["why"]


def test_a_record_of_a_stranger_does_not_choose_whom_a_stop_ends(store: Store) -> None:
    directory = add_run(store.root, "20260101-000000-theirs-0000", done=1, state=None)
    with subprocess.Popen(["sleep", "600"]) as bystander:
        try:
            record = {"mark": "theirs/1/x", **Identity.of(bystander.pid).as_dict()}
            write_json(directory / "attempts" / "1" / "proc.json", record)
            held = try_lock(directory / ".writer")
            assert held is not None
            as_user(0, "chown", "-R", str(STRANGER), directory)
            done = store.call("runs", "stop", directory.name, "--grace", "0", code=2)
            assert f"belongs to {STRANGER}" in done.stderr
            assert bystander.poll() is None
            release(held)
        finally:
            bystander.kill()


def test_an_evaluation_does_not_run_code_that_a_strangers_run_asks_for(store: Store) -> None:
    directory = add_run(store.root, "20260101-000000-theirs-0000")
    spec = json.loads((directory / "spec.json").read_text())
    spec["config"]["model"]["trust_remote_code"] = True
    write_json(directory / "spec.json", spec)
    command = ("eval", directory.name, "--task", "arithmetic", "--step", "7")
    # One's own run is asked for a checkpoint that it has not.
    assert "no checkpoint" in store.call(*command, code=2).stderr
    as_user(0, "chown", "-R", str(STRANGER), directory)
    done = store.call(*command, code=2)
    assert f"belongs to {STRANGER}" in done.stderr
    assert "--set model.trust_remote_code=true" in done.stderr
    assert "no checkpoint" in store.call(*command, "--set", "model.trust_remote_code=false", code=2).stderr
    spec["config"]["model"]["trust_remote_code"] = False
    spec["config"]["engine"] = str(store.cwd / "evil.py")
    (store.cwd / "evil.py").write_text("raise SystemExit(99)")
    write_json(directory / "spec.json", spec)
    assert "--engine NAME decides" in store.call(*command, code=2).stderr
    spec["config"]["engine"] = "hf"
    sha256 = hashlib.sha256((store.cwd / "evil.py").read_bytes()).hexdigest()
    wraps = {"score_response": "wraps"}
    entry = {"entry_point": f"{store.cwd / 'evil.py'}:Evil", "sha256": sha256, "hooks": wraps}
    spec["pipeline"] = {"arithmetic": {"entry_point": "", "hooks": {"score_response": "provides"}}, "evil": entry}
    write_json(directory / "spec.json", spec)
    said = " ".join(store.call(*command[:-2], "--step", "0", code=2).stderr.split())
    assert "wants to run the file of `evil`" in said
    assert f"belongs to {STRANGER}" in said


def names_of_leases(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("DAPOCTL_LEASES", str(folder))
    taken = lease(SLOT, "a run")
    assert taken is not None
    assert holder(SLOT) == "a run"
    give_back([taken])
    return [path.name for path in folder.glob("*.lock")]


@pytest.mark.parametrize("trap", ["ln -s {mine}", "ln {mine}", "mkfifo", "mkdir", "ln -s /dev/null"])
def test_a_trap_in_place_of_a_lease_harms_no_file_and_stops_no_list(
    store: Store, street: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [name] = names_of_leases(street / "mine" / "first", monkeypatch)
    mine = street / "mine" / "thesis.txt"
    mine.write_text("years of work")
    mine.chmod(0o666)  # Else the kernel may refuse the hard link by itself.
    shared = street / "leases"
    shared.mkdir()
    shared.chmod(0o1777)
    as_user(STRANGER, "sh", "-c", f"{trap.format(mine=mine)} {shared / name}", check=False)
    if not os.path.lexists(shared / name):
        os.link(mine, shared / name)  # Where protected_hardlinks is on, root can.
    found = store.call("run", "--detach", *VALUES, code=None, DAPOCTL_LEASES=str(shared))
    assert found.returncode in (1, 2)
    assert str(shared / name) in found.stderr
    assert not list(store.root.glob("2*"))
    assert mine.read_text() == "years of work"
    assert mine.stat().st_mode & 0o777 == 0o666
    monkeypatch.setenv("DAPOCTL_LEASES", str(shared))
    with pytest.raises(StorageError, match=r"remove it|cannot be locked"):
        lease(SLOT, "a run")
    store.call("gpus", DAPOCTL_LEASES=str(shared))


@pytest.mark.parametrize(("mode", "owner", "says"), [
    (0o1777, STRANGER, "belongs to 1501"), (0o755, STRANGER, "belongs to 1501"), (0o777, 0, "every user can delete them"),
])  # fmt: skip
def test_a_folder_of_leases_that_is_a_strangers_is_refused(
    store: Store, street: Path, mode: int, owner: int, says: str
) -> None:
    folder = street / "leases"
    as_user(owner, "mkdir", folder)
    as_user(owner, "chmod", f"{mode:o}", folder)
    for option in ("--detach", "--queue"):
        done = store.call("run", option, *VALUES, code=None, DAPOCTL_LEASES=str(folder))
        assert done.returncode == 1
        assert says in done.stderr
        assert "DAPOCTL_LEASES=DIR" in done.stderr
    assert not list(store.root.glob("2*"))
    assert "someone unknown" in store.call("gpus", DAPOCTL_LEASES=str(folder)).stdout
    assert list(folder.iterdir()) == []


def test_users_share_the_leases_of_a_machine(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made a lease's file: the next user takes it, and who has it is known to all."""
    shared = street / "leases"
    shared.mkdir()
    shared.chmod(0o1777)
    take = "import sys; from dapoctl.runs.jobs.leases import devices, lease; taken = lease(devices()[0], sys.argv[1])\n"
    take += "print('taken' if taken else 'busy', flush=True); "
    env = {**os.environ, "DAPOCTL_LEASES": str(shared), "DAPOCTL_SLOTS": "1"}
    assert python_as(STRANGER, take, "theirs", env=env).stdout == "taken\n"
    monkeypatch.setenv("DAPOCTL_LEASES", str(shared))
    monkeypatch.setenv("DAPOCTL_SLOTS", "1")
    [device] = devices()
    assert holder(device) == ""
    taken = lease(device, "mine")
    assert taken is not None
    assert python_as(NEIGHBOUR, take, "a neighbour's", env=env).stdout == "busy\n"
    assert holder(device) == "mine"
    give_back([taken])
    look = "from dapoctl.runs.jobs.leases import devices, holder; sys.stdin.readline(); print(holder(devices()[0]))"
    assert (
        python_as(NEIGHBOUR, take + look, "a neighbour's", env=env, input="", stdin=None).stdout
        == "taken\na neighbour's\n"
    )


def test_a_user_without_a_name_takes_a_lease(street: Path) -> None:
    code = "import os; from dapoctl.runs.jobs.leases import devices, holder, lease; os.chdir('/')\n"
    code += "taken = lease(devices()[0], 'a run'); print(holder(devices()[0]))"
    env = {"PATH": os.environ["PATH"], "DAPOCTL_LEASES": str(street / "leases")}
    assert python_as(NAMELESS, code, env=env).stdout == "a run\n"
    [record] = (street / "leases").glob("*.json")
    assert json.loads(record.read_text())["user"] == str(NAMELESS)


@pytest.mark.slow
def test_a_user_without_a_name_runs_in_the_background(street: Path) -> None:
    code = "import sys; from dapoctl.cli import main; sys.argv = ['dapoctl', *sys.argv[1:]]; sys.exit(main())"
    env = {
        "PATH": os.environ["PATH"],
        "DAPOCTL_LEASES": str(street / "leases"),
        "HF_HUB_OFFLINE": "1",
        "HOME": "/nowhere",
    }
    as_user(NAMELESS, "mkdir", street / "home")
    python_as(NAMELESS, code, "run", "--detach", *VALUES, cwd=street / "home", env=env)
    [directory] = (street / "home" / "runs").glob("2*")
    ended = directory / "attempts" / "1" / "exit.json"
    wait_for(ended.exists)
    wait_for(lambda: not is_locked(directory / ".lock"))
    assert json.loads(ended.read_text())["state"] == "finished"
    assert ended.stat().st_uid == NAMELESS


@pytest.mark.parametrize("before", [None, 0o666])
def test_another_user_sees_that_a_run_is_worked_on_and_cannot_take_its_lock(street: Path, before: int | None) -> None:
    path = street / ".lock"
    if before is not None:
        path.touch()
        path.chmod(before)
    held = try_lock(path)
    assert held is not None
    imports = "import fcntl, sys\nfrom pathlib import Path\nfrom dapoctl.runs.locks import is_locked"
    look = "print(is_locked(Path(sys.argv[1])))"
    take = f"{look}\nfcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB); print('taken')"
    assert python_with_no_rights(NEIGHBOUR, imports, look, path) == "True\n"
    release(held)
    assert python_with_no_rights(NEIGHBOUR, imports, look, path) == "False\n"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        python_with_no_rights(NEIGHBOUR, imports, take, path)
    assert "PermissionError" in refused.value.stderr


@pytest.mark.timeout(60)
def test_a_lock_that_only_its_owner_can_open_stops_no_list(store: Store, street: Path) -> None:
    shared = street / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    store.call("queue", "hold", "--runs-dir", str(shared))
    store.run("--queue", "--runs-dir", str(shared))
    as_user(0, "chown", "-R", str(NEIGHBOUR), shared)
    lock = shared / ".queue" / "lock"
    as_user(0, "sh", "-c", f"chown {STRANGER} {lock}; chmod 600 {lock}")
    code = "import sys; from dapoctl.cli import main\nfor words in (['runs', 'list'], ['queue', 'list']):\n"
    code += "    sys.argv = ['dapoctl', *words, '--runs-dir', sys.argv[-1]]; assert main() == 0, words"
    done = python_as(NEIGHBOUR, code, shared, env=store.env, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: no waiting run was started: ") == 2
    assert f"`{lock}` cannot be locked: Permission denied" in done.stderr
    assert done.stdout.count("queued") == 1
