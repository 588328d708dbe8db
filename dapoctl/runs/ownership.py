"""Whose a file is: nothing is started for this user from files that another one wrote or can change."""

from __future__ import annotations

import getpass
import grp
import os
import pwd
import stat
from pathlib import Path

from dapoctl.errors import UserError
from dapoctl.runs.summary import LAUNCH, SPEC

MINE, MY_FOLDER = 0o644, 0o755
"""Modes, before the umask, of what runs are started from: see `not_mine`"""


def user_name(uid: int | None = None) -> str:
    """A user's name, by default that of who runs this process; the number of one without a name, as in containers."""
    try:
        return getpass.getuser() if uid is None else pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return str(os.getuid() if uid is None else uid)


def not_mine(path: Path) -> str:
    """Why another user may have written what is at `path`, which is no link: in words, empty if none can; a file that is not
    there is nobody's."""
    try:
        found = path.lstat()
    except OSError:
        return ""
    if stat.S_ISLNK(found.st_mode):
        return f"`{path}` is a link"
    if found.st_uid != os.geteuid():
        return f"`{path}` belongs to {user_name(found.st_uid)}"
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid)):
        return f"others can write `{path}` (chmod go-w takes that away)"
    return ""


def _is_private(gid: int) -> bool:
    """Whether a group is the user's own, as systems make them where files are writable for their group by default."""
    try:
        group, me = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == me and {*group.gr_mem} <= {me}


def not_my_run(directory: Path) -> str:
    """Why nothing may be started from this run's folder, in words; empty if it is the user's own and no other can change it."""
    # A run may have been moved to another disk, with a link in its place.
    folder = Path(os.path.realpath(directory))
    return next((why for path in (folder, folder / LAUNCH, folder / SPEC) if (why := not_mine(path))), "")


def refuse_foreign(directory: Path) -> None:
    """Refuse to start, or to send signals to, what a run's files name that another user may have written.

    Raises:
        UserError: saying whose they are.
    """
    if why := not_my_run(directory):
        raise UserError(
            f"run `{directory.name}` is not yours alone: {why}; what its files name is neither started nor signalled."
            f" A copy is yours: cp -r {directory} ELSEWHERE"
        )
