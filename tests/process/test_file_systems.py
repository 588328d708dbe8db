"""File systems that lack something: locks, room, or plain files where files should be.

Processes: a library is loaded before all others to take locks away, and a supervisor is what finds the disk full.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dapoctl.runs.tickets import tickets
from tests.support.background import SHORT, Store
from tests.support.stores import add_run
from tests.support.users import only_root

pytestmark = pytest.mark.process

VALUES = [part for text in SHORT for part in ("--set", text)]
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* flock as a file system without locks answers it, below the folder $WITHOUT_LOCKS. */
int flock(int file, int operation) {
    static int (*real)(int, int);
    char link[64], path[PATH_MAX + 1] = "";
    const char *folder = getenv("WITHOUT_LOCKS"), *number = getenv("ANSWER");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, PATH_MAX) > 0 && folder && strncmp(path, folder, strlen(folder)) == 0) {
        errno = atoi(number);
        return -1;
    }
    if (!real) real = (int (*)(int, int)) dlsym(RTLD_NEXT, "flock");
    return real(file, operation);
}
"""
COMMANDS = """
import contextlib, io, json, os, sys
from dapoctl.cli import main
found = []
for number, commands in json.loads(sys.argv[1]):
    os.environ["ANSWER"] = str(number)
    for words in commands:
        sys.argv = ["dapoctl", *words]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main()
        found.append([number, words, code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""
RUN = "20260101-000000-old-0000"
WRITING = [
    ["run", *VALUES], ["run", "--detach", *VALUES], ["run", "--queue", *VALUES], ["sweep", "--axis", "seed=1,2", *VALUES],
    ["eval", "tiny", "--task", "arithmetic", "--limit", "2"], ["queue", "hold"], ["runs", "resume", RUN],
    ["runs", "resume", RUN, "--detach"], ["runs", "resume", RUN, "--queue"],
]  # fmt: skip
READING = [["runs", "list"], ["runs", "show", RUN], ["queue", "list"], ["gpus"]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a library that takes locks away needs a C compiler, and Linux")
    folder = tmp_path_factory.mktemp("library")
    (folder / "nolocks.c").write_text(LIBRARY)
    command = [compiler, "-shared", "-fPIC", "-o", folder / "nolocks.so", folder / "nolocks.c", "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder / "nolocks.so"


def test_without_locks_writers_say_what_to_do_and_make_nothing(tmp_path: Path, library: Path) -> None:
    store = Store(tmp_path)
    add_run(store.root, RUN, state="stopped", done=3)
    before = sorted(store.root.rglob("*"))
    env = store.env | {"LD_PRELOAD": str(library), "WITHOUT_LOCKS": str(store.root)}
    answers = [errno.ENOLCK, errno.EOPNOTSUPP]
    commands = [[answers[0], WRITING + READING], [answers[1], [["queue", "hold"], ["runs", "resume", RUN], *READING]]]
    command = [sys.executable, "-P", "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for number, words, code, out, err in json.loads(done.stdout):
        said = f"{words}: {code}\n{out}\n{err}"
        if words in READING:
            assert code == 0, said
            continue
        assert code == 1, said
        [line] = [line for line in err.splitlines() if line.startswith("error: ")]
        assert line.startswith(f"error: `{store.root}"), said
        assert (
            f"its file system has no locks ({os.strerror(number)}); keep runs on a local disk with --runs-dir" in line
        )
    after = [
        path
        for path in sorted(store.root.rglob("*"))
        if path.name not in (".index.json", ".queue", "lock", ".lock", ".writer")
    ]
    assert after == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@only_root
def test_a_full_disk_keeps_no_list_from_being_shown(small_disk: Path, tmp_path: Path) -> None:
    """A run waits and its turn has come; it cannot be started, and that is said beside the list."""
    store = Store(small_disk)
    store.env["DAPOCTL_LEASES"] = str(tmp_path / "leases")
    store.call("queue", "hold")
    run = store.run("--queue")
    state = store.root / ".queue" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"held": False}))
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while shutil.disk_usage(small_disk).free:
            ballast.write(bytes(4096))
    for command in (("runs", "list"), ("queue", "list"), ("runs", "show", run.name)):
        done = store.call(*command)
        assert run.name in done.stdout
        assert "no space left" in done.stderr or command[1] == "show"
    assert [ticket.run for ticket in tickets(store.root)] == [run.name]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [
    ".queue/lock", ".queue/state.json", "{}/.lock", "{}/.writer", "{}/metrics.jsonl", "{}/notes.json",
    "{}/attempts/1/exit.json", ".index.json", "other/spec.json",
])  # fmt: skip
def test_a_pipe_in_place_of_a_file_keeps_no_list_waiting(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    store.call("queue", "hold")
    run = store.run("--queue")
    path = store.root / name.format(run.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    if name != ".queue/state.json":
        state = store.root / ".queue" / "state.json"
        state.write_text(json.dumps(json.loads(state.read_text()) | {"why": "held for a test"}))
    for command in (("runs", "list"), ("queue", "list"), ("runs", "show", run.name)):
        if name == ".queue/state.json":
            # A queue whose state cannot be read is not held, so its run would start here.
            (store.root / run.name / "launch.json").chmod(0o666)
        assert run.name in store.call(*command).stdout
