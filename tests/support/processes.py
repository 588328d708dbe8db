"""Real processes: what one imports, and `dapoctl` where it matters that it is a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.cli import environment

HEAVY = {"torch", "transformers", "vllm", "datasets", "textual", "tensorboard", "math_verify", "scipy"}
"""Packages that take long to import"""


def run_dapoctl(*arguments: str, cwd: Path, packages: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """A `dapoctl` process in `cwd` that has `packages` installed."""
    path = os.pathsep.join([*map(str, packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-P", "-m", "dapoctl", *arguments],
        cwd=cwd,
        env=environment(PYTHONPATH=path, COLUMNS="200", TMPDIR=str(cwd)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def modules_after(code: str, cwd: Path) -> set[str]:
    """Top-level modules that a process has imported after `code`."""
    report = "import sys\nprint('\\n'.join({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=cwd, capture_output=True, text=True, check=True, timeout=120
    )
    return {*done.stderr.split()}
