"""The fixture `cli`: a command in this process says what one in its own would, and leaves nothing behind."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tests.support.broken import SMALL
from tests.support.cli import Cli
from tests.support.helpers import plugin_file
from tests.support.processes import run_dapoctl

UNTIDY = """
    import logging, os, random, signal, sys, warnings
    import torch
    from dapoctl import Component, hookimpl

    class Untidy(Component):
        '''Leave traces in everything that a process has.'''

        @hookimpl
        def on_run_end(self):
            os.environ["UNTIDY"] = "1"
            os.chdir("/")
            sys.path.append("untidy")
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            warnings.simplefilter("ignore")
            logging.getLogger().addHandler(logging.NullHandler())
            logging.getLogger("untidy").setLevel(logging.DEBUG)
            torch.set_num_threads(torch.get_num_threads() + 1)
            random.seed(1)
            print("traces everywhere")
"""


def surroundings() -> dict[str, object]:
    return {
        "variables": dict(os.environ),
        "folder": Path.cwd(),
        "path": list(sys.path),
        "arguments": list(sys.argv),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "filters": list(warnings.filters),
        "handlers": list(logging.getLogger().handlers),
        "level": logging.getLogger("untidy").level,
        "threads": torch.get_num_threads(),
        "random": (random.getstate(), torch.get_rng_state().tolist()),
    }


def test_a_command_leaves_this_process_as_it_was(cli: Cli, tmp_path: Path) -> None:
    plugin_file(tmp_path, UNTIDY)
    before = surroundings()
    options = [part for setting in (*SMALL, "steps=1") for part in ("--set", setting)]
    done = cli("run", "--plugins", "./my_idea.py:Untidy", *options)
    assert done.returncode == 0, done.stderr
    assert "traces everywhere" in done.stdout
    after = surroundings()
    assert {name for name, value in before.items() if value != after[name]} == set()


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments", [["runs", "list"], ["run", "--set", "stpes=3"], ["plugins", "show", "gkl", "--json"]]
)
def test_a_command_says_what_one_in_its_own_process_says(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    here, there = cli(*arguments, COLUMNS="200"), run_dapoctl(*arguments, cwd=tmp_path)
    assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)
