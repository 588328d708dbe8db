"""Whether a busy machine is told: measured, two threads on two busy cores train 3 to 8 times slower than one."""

from __future__ import annotations

import os

import pytest

from dapoctl.doctor.machine import busy_words


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four processors, a load of 9, and a user who said nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr(os, "getloadavg", lambda: (9.2, 1.0, 1.0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return monkeypatch


def test_it_is_told_with_the_fix(four: pytest.MonkeyPatch) -> None:  # noqa: ARG001 (what it sets)
    words = busy_words("cpu", None)
    assert "a load of 9 on 4 processors" in words
    assert "--set train.threads=1" in words


def test_it_is_not_told_to_those_who_chose_or_need_not(four: pytest.MonkeyPatch) -> None:
    assert busy_words("cuda", None) == busy_words("cpu", 4) == ""
    four.setenv("OMP_NUM_THREADS", "4")
    assert busy_words("cpu", None) == ""
    four.delenv("OMP_NUM_THREADS")
    four.setattr(os, "getloadavg", lambda: (4.0, 9.0, 9.0))
    assert busy_words("cpu", None) == ""
