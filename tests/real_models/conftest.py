"""What holds for tests on real models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _small_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checkpoints of real models are gigabytes, and together have filled a disk: each test's go when it ends."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
