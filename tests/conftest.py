"""What holds for every test, and what takes long to make and is made once."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from tests.support.cli import Cli

# The tensors of tests are small: more threads only wait for each other. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing is loaded from a hub, and a name that is not there fails at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
SELDOM = 20_000, 20, 100
"""Allocations, and young collections, after which the next generation is looked through; CPython's are 700, 10, 10"""


def pytest_configure(config: pytest.Config) -> None:
    """Tests compute on the CPU, and in float32, also where there is a GPU: only `-m gpu` shows it to them."""
    if "gpu" not in config.option.markexpr.replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_finish() -> None:
    """Looking for cycles through all that is imported, again and again, took a quarter of the time of the screens' tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)


@pytest.fixture(scope="session", autouse=True)
def _leases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leases of this session's own: neither another worker nor the machine's user has them; nothing waits on after its end."""
    from tests.support.background import end_waiters

    os.environ["DAPOCTL_LEASES"] = str(tmp_path_factory.mktemp("leases"))
    yield
    end_waiters(tmp_path_factory.getbasetemp())


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`dapoctl` in this process, in the test's own folder: see `tests.support.cli.dapoctl`."""
    from tests.support.cli import dapoctl

    return partial(dapoctl, cwd=tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two runs that the trainer made, once for all workers; nobody writes to it."""
    from tests.support.trained import make

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    root, done = base / "trained" / "runs", base / "trained" / "done"
    with FileLock(base / "trained.lock"):
        if not done.is_file():
            make(root)
            done.touch()
    return root


@pytest.fixture
def trained_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to write to, without checkpoints."""
    return Path(shutil.copytree(trained, tmp_path / "runs", ignore=shutil.ignore_patterns("checkpoints")))
