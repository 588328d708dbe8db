"""The GPU check: its bookkeeping, and that the script itself runs, which a CPU can show.

Slow: the whole of it, with a model that is trained and two commands.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.bench.gpu_check.__main__ import main
from experiments.bench.gpu_check.figures import Figure, Figures


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict", "expected"),
    [
        (2.0, 1, 3, "ok", "1 to 3"),
        (4.0, 1, 3, "outside", "1 to 3"),
        (float("nan"), 1, 3, "outside", "1 to 3"),
        (0.5, None, 1, "ok", "at most 1"),
        (0.5, 1, None, "outside", "at least 1"),
        (0.5, None, None, "", ""),
        (True, None, None, "ok", "yes"),
        (False, None, None, "outside", "yes"),
        ("words", 1, 2, "", "1 to 2"),
    ],
)
def test_a_figure_is_judged_by_its_range(
    value: float, low: float | None, high: float | None, verdict: str, expected: str
) -> None:
    figure = Figure("s", "w", value, low, high)
    assert (figure.verdict, figure.expected()) == (verdict, expected)


def test_a_section_that_fails_does_not_stop_the_next_and_late_ones_are_not_begun(tmp_path: Path) -> None:
    def breaks(_: Figures) -> None:
        raise RuntimeError("no such | kernel")

    figures = Figures(tmp_path, limit=100)
    figures.run("first", breaks)
    figures.run("second", lambda found: found.add("speed", 3.0, 1, 5, unit="ms"))
    figures.limit = -1
    figures.run("third", breaks)
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    assert found["failed"]["first"] == "RuntimeError: no such | kernel"
    assert "not begun" in found["failed"]["third"]
    assert next((row["what"], row["verdict"]) for row in found["figures"] if row["section"] == "second") == (
        "speed",
        "ok",
    )
    assert not figures.sound
    page = (tmp_path / "gpu-check.md").read_text()
    assert "| second | speed | 3 ms | 1 to 5 | ok |" in page
    assert "no such \\| kernel" in page


def test_a_section_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--dry", "--only", "atention"])
    assert "--only atention: no such section; there are exactness, attention," in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.process
def test_dry_it_runs_whole(tmp_path: Path) -> None:
    assert main(["--dry", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    assert found["failed"] == {}
    sections = {row["section"] for row in found["figures"]}
    assert sections == {"exactness", "attention", "update", "states", "decoding", "commands"}
    whats = " ".join(row["what"] for row in found["figures"])
    for word in ("masks, float32", "dense mask", "trained tokens", "8bit: seconds", "top_p 0.7", "run of 4 steps"):
        assert word in whats
