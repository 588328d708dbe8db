"""Other users of this machine: commands that they run, in folders that both they and the tests reach. For root only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

STRANGER, NEIGHBOUR, NAMELESS = 1501, 1601, 54321
"""User ids that no system gives to anybody"""

only_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="acting as other users takes root and setpriv"
)


def as_user(uid: int, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as that user, with that user's group alone; it must succeed, or `check` is false.

    It may read what root may, or it could not run a Python that lies in root's home; to write, it has the user's rights.
    """
    may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    check = options.pop("check", True)
    given = {"capture_output": True, "text": True, "timeout": 120, "stdin": subprocess.DEVNULL}
    user = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *may_read]
    return subprocess.run(["setpriv", *user, *map(str, command)], check=check, **(given | options))


def python_as(uid: int, code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code as that user."""
    return as_user(uid, sys.executable, "-P", "-c", code, *arguments, **options)


def python_with_no_rights(uid: int, imports: str, code: str, *arguments: str | Path) -> str:
    """What Python code prints that runs as that user and can read no more than it; it imports before."""
    become = f"import os; os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})"
    command = [sys.executable, "-P", "-c", f"{imports}\n{become}\n{code}", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike those of pytest, and write to like the one that it is in."""
    folder = Path(tempfile.mkdtemp(prefix="dapoctl-test-"))
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
