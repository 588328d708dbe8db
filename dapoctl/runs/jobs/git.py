"""The commit and the uncommitted changes that a run was started with."""

from __future__ import annotations

import hashlib
import os
import subprocess

LEFT_OUT = "DAPOCTL_GIT_DIFF"
"""Environment variable that keeps the changes out of the record: 0"""
LARGEST = 2**20
"""Bytes of changes that are kept; of more the beginning, with the size and the hash of all"""
PRIVATE = (".env", ".env.*", "*.env", ".envrc", ".netrc", "*.pem", "*.key")
"""Files that hold secrets and belong to no record, even where they are part of the repository"""
WITHIN = 10.0
"""Seconds that git may take"""


def working_tree() -> dict[str, str]:
    """Of the folder that this process is in: commit, diff, and if not all of it is kept a note with its size and hash; empty
    outside a repository."""
    try:
        commit = _ask("rev-parse", "HEAD").decode().strip()
        if not commit:
            return {}
        private = [f":(top,exclude,icase,glob)**/{name}" for name in PRIVATE]
        diff = _ask("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--", ":(top)", *private)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    left_out = os.environ.get(LEFT_OUT, "").lower() in ("0", "no", "false", "off")
    kept = b"" if left_out else diff if len(diff) <= LARGEST else diff[: diff.rfind(b"\n", 0, LARGEST) + 1]
    found = {"commit": commit, "diff": kept.decode(errors="replace")}
    if len(kept) < len(diff):
        why = f"left out by {LEFT_OUT}" if left_out else "cut"
        digest = hashlib.sha256(diff).hexdigest()
        found["diff_note"] = f"{why}: {len(kept)} of {len(diff)} bytes are here; sha256 of all: {digest}"
    return found


def _ask(*command: str) -> bytes:
    done = subprocess.run(["git", *command], capture_output=True, check=False, timeout=WITHIN)
    return done.stdout if done.returncode == 0 else b""
