"""Whether a run fits this machine: what `dapoctl doctor` says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dapoctl.runs.processes import MODULE

RESTED = 2.0
"""Seconds without a change before the doctor is asked: it takes seconds of a processor"""
LONG = 120.0
"""Seconds that it may take, on a machine that does other things"""


class Fit(NamedTuple):
    """The doctor's word on a run."""

    status: str
    """ok, warn or fail"""
    words: tuple[str, ...]


def ask_doctor(options: Sequence[str]) -> Fit:
    """What the doctor says of the run that these options of `dapoctl run` describe; no words where it says nothing.

    For a thread. The doctor is a process of its own: a model's shape takes torch, which a screen has no other use for.
    """
    command = [sys.executable, *MODULE, "dapoctl", "doctor", *options, "--json"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONG, check=False
        )
        return verdict_of(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        # The resolver, asked before, says what is wrong with a choice.
        return Fit("ok", ())


def verdict_of(report: Mapping[str, Any]) -> Fit:
    """The doctor's report (`--json`) in a line or two: what prevents the run and what helps, or how it fits."""
    failed = [check for check in (*report["environment"], *report["run"]) if check["status"] == "fail"]
    if failed:
        words = [
            f"{check['name']}: {check['text']}" + (f" → {check['fix']}" if check["fix"] else "") for check in failed
        ]
        if any(check["name"] == "does not fit" for check in failed):
            words += [f"it would fit with {' '.join(item['set'])}" for item in report["advice"] if item["set"]]
        return Fit("fail", tuple(words))
    found = [check for check in report["run"] if check["name"] == "fits"]
    if not found:
        return Fit("ok", ())
    return Fit(found[0]["status"], (f"fits: {found[0]['text']}",))
