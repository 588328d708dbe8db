"""Commands of the tests' own that do one thing to many runs, and say in JSON what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.support.places import ROOT


def campaign(module: str, *arguments: str, seconds: float) -> dict[str, Any]:
    """What `python -m MODULE ARGUMENTS` says on its last line, once it has ended well: it forks and kills."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found)
    return found
