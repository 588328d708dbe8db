"""`dapoctl` in this process: a command line and what came of it, with everything that it could leave behind put back."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import transformers  # noqa: F401 (its log handler keeps the stderr of whoever imports it first)

from dapoctl.cli import main
from dapoctl.components.catalog import installed
from dapoctl.doctor.packages import requirements, version
from dapoctl.errors import RunWarning

LEFT_OUT = ("DAPOCTL_", "FORCE_COLOR")
"""Beginnings of environment variables that a test's command does not inherit; the machine's leases stay those of the tests"""
KEPT = ("DAPOCTL_LEASES", "DAPOCTL_TEST_MODELS")


@dataclass(frozen=True)
class Done:
    """What a finished process leaves: see `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


Cli = Callable[..., Done]
"""The fixture `cli`: `dapoctl` in the test's own folder"""


def environment(**extra: str) -> dict[str, str]:
    """The variables of a command: this process's without the user's settings, no colours, and `extra`."""
    kept = {key: value for key, value in os.environ.items() if key in KEPT or not key.startswith(LEFT_OUT)}
    return kept | {"NO_COLOR": "1"} | extra


def dapoctl(
    *arguments: str | Path,
    cwd: Path,
    packages: Sequence[Path] = (),
    before: Callable[[], object] | None = None,
    env: Mapping[str, str] | None = None,
    **extra: str,
) -> Done:
    """`dapoctl arguments` in `cwd`, by calling its entry point.

    Warnings of dapoctl's own are printed, as in a process; all others are errors, as in any test.

    Args:
        packages: folders that are searched for modules and distributions before all others, as by PYTHONPATH
        before: called when everything is prepared
        env: all its environment variables; by default, `environment(**extra)`
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        _variables(env if env is not None else environment(**extra)),
        contextlib.chdir(cwd),
        _modules([Path(cwd), *packages], packages),
        _signals(),
        _numbers(),
        _logs(),
        _warnings(),
        _streams(["dapoctl", *map(str, arguments)], output, errors),
    ):
        try:
            if before is not None:
                before()
            code = main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        texts = [file.seek(0) or file.read() for file in (output, errors)]
    return Done(code, *texts)


def on_store(*arguments: str, root: Path, code: int | None = None) -> Done:
    """`dapoctl arguments` on the runs in `root`; no traceback on the way, and, if it is given, the exit code `code`."""
    done = dapoctl(*arguments, "--runs-dir", str(root), cwd=Path.cwd())
    assert "Traceback" not in done.stderr, done.stderr
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


@contextlib.contextmanager
def _streams(argv: list[str], output: IO[str], errors: IO[str]) -> Iterator[None]:
    before = sys.argv, sys.stdin, sys.stdout, sys.stderr
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = argv, nothing, output, errors
        try:
            yield
        finally:
            sys.argv, sys.stdin, sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    _replace(values)
    try:
        yield
    finally:
        _replace(before)


def _replace(values: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)
    tempfile.tempdir = None


@contextlib.contextmanager
def _modules(folders: Sequence[Path], packages: Sequence[Path]) -> Iterator[None]:
    """What is imported from these folders is imported for this command alone; libraries stay, wherever their environment is."""
    before, path = set(sys.modules), list(sys.path)
    sys.path[:0] = map(str, packages)
    if packages:
        _forget_packages()
    try:
        yield
    finally:
        sys.path[:] = path
        if packages:
            _forget_packages()
        roots = [str(folder.resolve()) for folder in folders]
        for name in set(sys.modules) - before:
            specification = getattr(sys.modules[name], "__spec__", None)
            places = [getattr(sys.modules[name], "__file__", None) or ""]
            places += getattr(specification, "submodule_search_locations", None) or []
            if any(place.startswith(root) and sys.prefix not in place for root in roots for place in places):
                del sys.modules[name]


def _forget_packages() -> None:
    importlib.invalidate_caches()
    for cached in (installed, requirements, version):
        cached.cache_clear()


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _numbers() -> Iterator[None]:
    """Random states, torch's threads and its settings."""
    threads, dtype, exact = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
    )
    states: tuple[Any, ...] = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(exact)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@contextlib.contextmanager
def _logs() -> Iterator[None]:
    def loggers() -> list[logging.Logger]:
        known = [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
        return [logging.root, *known]

    before = {logger: (list(logger.handlers), logger.level, logger.propagate, logger.disabled) for logger in loggers()}
    try:
        yield
    finally:
        for logger in loggers():
            was = before.get(logger, ([], logging.NOTSET, True, False))
            logger.handlers[:], logger.level, logger.propagate, logger.disabled = was
        logging.root.manager._clear_cache()  # type: ignore[attr-defined]


@contextlib.contextmanager
def _warnings() -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], filename: str, line: int, *_rest: object) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, line))

    with warnings.catch_warnings():
        warnings.simplefilter("default", RunWarning)
        warnings.showwarning = show
        yield
