"""The foreground display: what fits, what it says about broken numbers, what a log gets."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dapoctl import Component, DapoctlError, RunInfo
from dapoctl.cli.foreground import closing, foreground
from dapoctl.cli.live import Display, console_on
from dapoctl.components.pipeline import Pipeline
from dapoctl.runs.amounts import byte_size
from dapoctl.views.numbers import duration, number, sparkline
from dapoctl.views.progress import Progress
from dapoctl.views.progress_block import block, step_line

RUN = "20250101-120000-dapo-ab12"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Ended:
    """What the trainer returns."""

    id: str = RUN
    directory: Path = Path("runs") / RUN
    state: str = "finished"
    step: int = 200
    steps: int = 200
    before: dict[str, float] = field(default_factory=lambda: {"eval/arithmetic/avg@1": 0.523})
    after: dict[str, float] = field(default_factory=lambda: {"eval/arithmetic/avg@1": 0.914})
    seconds: float = 412.0
    warnings: list[str] = field(default_factory=list)
    ended_by: str = ""
    profile: dict[str, Any] | None = None


def step_metrics(step: int, **changed: float) -> dict[str, float]:
    metrics = {
        "reward/mean": -0.02 + 0.01 * step,
        "reward/std": 0.9,
        "score/accuracy": 0.5 + 0.002 * step,
        "groups/kept_fraction": 0.81,
        "groups/all_right": 0.1,
        "groups/all_wrong": 0.09,
        "response/length_mean": 34.2,
        "response/truncated_fraction": 0.02,
        "policy/entropy": 0.6 - 0.002 * step,
        "policy/clip_fraction_low": 0.001,
        "policy/clip_fraction_high": 0.012,
        "policy/approx_kl": 2e-5,
        "policy/grad_norm": 0.31,
        "throughput/generated_tokens_per_s": 1203.4,
        "throughput/trained_tokens_per_s": 3401.0,
        "memory/peak_bytes": 1.2e9,
    }
    return metrics | changed


def trained(steps: int = 37, **last: float) -> tuple[Progress, Clock]:
    clock = Clock()
    progress = Progress(RUN, 200, clock, components="uniform, grpo, clip_higher, dynamic_sampling, token_mean, gkl")
    progress.advance(0, {"eval/arithmetic/avg@1": 0.523})
    for step in range(1, steps + 1):
        clock.now += 2.0
        metrics = step_metrics(step, **(last if step == steps else {}))
        if step % 10 == 0:
            metrics["eval/arithmetic/avg@1"] = 0.523 + 0.003 * step
        progress.advance(step, metrics)
    progress.enter("generate")
    return progress, clock


def lines_of(progress: Progress, width: int) -> list[str]:
    return [row.plain for row in block(progress, width)]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_block_fits(width: int) -> None:
    rows = block(trained()[0], width)
    assert len(rows) <= 8
    assert all(row.cell_len <= width for row in rows)


def test_block_says_what_matters_at_80_columns() -> None:
    progress, clock = trained()
    clock.now += 3
    text = "\n".join(lines_of(progress, 80))
    for words in (
        RUN,
        "37/200",
        "18%",
        "5:23 left",
        "sampling responses   0:03",
        "+0.350",
        "from -0.010",
        "2.0 s/step",
    ):
        assert words in text
    for words in (
        "61.3% arithmetic avg@1 from 52.3% (+9.0 points)",
        "0.526",
        "81.0% kept",
        "34.2 tokens",
        "1,203 tokens/s",
    ):
        assert words in text
    assert "▁" in text
    assert "█" in text


def test_wide_terminals_show_more() -> None:
    progress, _ = trained()
    narrow, wide = ("\n".join(lines_of(progress, width)) for width in (80, 160))
    assert "gradient norm" not in narrow
    assert "0.310 gradient norm" in wide
    assert "9.0% all wrong" in wide


@pytest.mark.parametrize("name", ["policy/grad_norm", "policy/approx_kl", "reward/mean", "policy/entropy"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_shown_at_any_width(name: str, value: float) -> None:
    progress, _ = trained(**{name: value})
    for width in (80, 160):
        assert str(value) in "\n".join(lines_of(progress, width))
    assert str(value) in step_line(trained(**{"policy/grad_norm": value})[0])


def test_block_before_the_first_step_says_what_takes_so_long() -> None:
    clock = Clock()
    progress = Progress("tiny", 200, clock)
    progress.enter("load")
    clock.now += 61
    assert lines_of(progress, 80)[-1].split() == ["now", "loading", "the", "model", "1:01"]
    progress.enter("eval")
    assert "evaluating on held-out problems" in lines_of(progress, 80)[-1]
    progress.enter("eval", 1, 3)
    assert lines_of(progress, 80)[-1].endswith("evaluating on held-out problems, 1/3")
    progress.enter("generate", 2, 0)
    assert lines_of(progress, 80)[-1].endswith("sampling responses, round 3")


def test_step_without_training_has_few_metrics() -> None:
    progress = Progress(RUN, 3, Clock())
    progress.advance(1, {"groups/kept_fraction": 0.0, "response/length_mean": 3.0})
    assert "0.0% kept" in lines_of(progress, 80)[-1]
    assert step_line(progress) == "step 1/3 kept=0 length=3"


def test_names_are_never_markup_or_escape_sequences() -> None:
    progress = Progress("[bold]\x1b[2J", 2, Clock(), components="[/red]")
    progress.advance(0, {"eval/[/x]\x07/avg@1": 0.5})
    text = "\n".join(lines_of(progress, 80))
    assert "[bold]\\x1b[2J" in text
    assert "[/red]" in text
    assert "[/x]\\x07" in text


def observe(display: Display, steps: int, directory: Path, start_step: int = 0) -> None:
    """What the trainer tells an observer, through pluggy."""
    observers = Pipeline([display])
    run = RunInfo(RUN, directory, {}, ["grpo", "gkl"], steps, start_step)
    display.on_phase("load", 0, 0)
    observers.observe("on_run_start", run=run)
    if not start_step:
        display.on_phase("eval", 0, 1)
        observers.observe("on_step_end", step=0, metrics={"eval/arithmetic/avg@1": 0.5})
    for step in range(start_step + 1, steps + 1):
        display.on_phase("generate", 0, 0)
        observers.observe("on_step_end", step=step, metrics=step_metrics(step))
    display.on_phase("checkpoint", 0, 0)
    observers.observe("on_run_end", run=run, state="finished")


def test_a_log_gets_one_plain_line_per_step(tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()
    display = Display.on(console_on(stream), Progress("tiny", 3, clock))
    with display.shown():
        observe(display, 3, tmp_path)
    text = stream.getvalue()
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "step 0/3 loading the model"
    assert lines[1] == f"run {RUN} grpo, gkl"
    assert lines[2:4] == ["step 0/3 evaluating on held-out problems", "eval 0/3 arithmetic avg@1=0.5"]
    assert [line.partition(" reward=")[0] for line in lines[4:]] == ["step 1/3", "step 2/3", "step 3/3"]
    assert "reward=-0.01 accuracy=0.502" in lines[4]


def test_a_log_says_during_long_steps_what_goes_on(tmp_path: Path) -> None:
    stream, clock = io.StringIO(), Clock()
    display = Display.on(console_on(stream), Progress("tiny", 3, clock))
    observe(display, 1, tmp_path)
    written = len(stream.getvalue())
    for done in range(60):
        clock.now += 1
        display.on_phase("generate", done, 64)
    assert stream.getvalue()[written:].splitlines() == ["step 1/1 sampling responses, 30/64"]


def test_a_terminal_gets_a_live_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    display = Display.on(console_on(stream), Progress("tiny", 3, Clock()))
    with display.shown():
        observe(display, 3, tmp_path)
    text = stream.getvalue()
    assert "3/3" in text
    assert "held-out" in text
    assert "step 3/3 reward=" not in text


def test_no_color_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    display = Display.on(console_on(stream), Progress("tiny", 3, Clock()))
    with display.shown():
        observe(display, 3, tmp_path)
    assert "\x1b[3" not in stream.getvalue().replace("\x1b[?25", "")


def test_dumb_terminals_get_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    display = Display.on(console_on(stream), Progress("tiny", 2, Clock()))
    with display.shown():
        observe(display, 2, tmp_path)
    assert "step 2/2 reward=" in stream.getvalue()


def test_a_terminal_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    observe(Display.on(console_on(Gone()), Progress("tiny", 3, Clock())), 3, tmp_path)


def test_a_resumed_run_shows_its_whole_course(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"schema": 1, "kind": "metrics"}]
    rows.append({"step": 0, "time": 1.0, "metrics": {"eval/arithmetic/avg@1": 0.5}})
    rows += [{"step": step, "time": 1.0, "metrics": step_metrics(step)} for step in range(1, 5)]
    rows[-1] = {"step": 4, "time": 1.0, "metrics": {"reward/mean": "NaN"}}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    display = Display.on(console_on(io.StringIO()), Progress("tiny", 6, Clock()))
    observe(display, 6, tmp_path, start_step=4)
    rewards = display.progress.courses["reward/mean"]
    assert rewards[:3] == pytest.approx([-0.01, 0.0, 0.01])
    assert math.isnan(rewards[3])
    assert len(rewards) == 6
    assert display.progress.held_out() == {"arithmetic avg@1": [0.5]}


Train = Callable[[Sequence[Component]], Ended]


def training(ended: Ended, directory: Path) -> Train:
    def train(observers: Sequence[Component]) -> Ended:
        (display,) = observers
        assert isinstance(display, Display)
        observe(display, 3, directory)
        return ended

    return train


def test_run_that_finished_early_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(step=12, ended_by="`stop_at.hours` = 1: it has trained for 1.02")
    assert foreground(training(ended, tmp_path), "tiny", 200, None, json=False) == 0
    assert (
        "Finished after step 12 of 200 (6:52): `stop_at.hours` = 1: it has trained for 1.02." in capsys.readouterr().out
    )


def test_finished_run_says_what_was_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(warnings=["3 prompts are too long"])
    assert foreground(training(ended, tmp_path), "tiny", 200, None, json=False) == 0
    out, err = capsys.readouterr()
    assert err == "warning: 3 prompts are too long\n"
    for words in (
        "Finished all 200 steps in 6:52.",
        "52.3% -> 91.4% (+39.1 points)   arithmetic avg@1",
        "-0.010 -> +0.010",
        f"runs/{RUN}",
        f"dapoctl runs show {RUN}",
    ):
        assert words in out
    assert "resume" not in out


def test_stopped_run_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(state="stopped", step=37)
    assert foreground(training(ended, tmp_path), "tiny", 200, Path("my runs"), json=False) == 130
    out = capsys.readouterr().out
    assert "Stopped after step 37 of 200 (6:52); a checkpoint is saved." in out
    assert f"dapoctl runs resume {RUN} --runs-dir 'my runs'" in out


def test_stopped_before_the_first_step() -> None:
    text = "\n".join(closing(Ended(state="stopped", step=0, before={}, after={}), Progress("tiny", 200), None))
    assert "before the first step" in text
    assert "checkpoint is saved" not in text
    assert f"dapoctl runs resume {RUN}" in text


def test_failed_run_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(observers: Sequence[Component]) -> Ended:
        training(Ended(), tmp_path)(observers)
        raise DapoctlError("the disk is full")

    with pytest.raises(DapoctlError):
        foreground(train, "tiny", 200, None, json=False)
    err = capsys.readouterr().err
    assert f"run {RUN} ended after step 3 of 3" in err
    assert f"dapoctl runs resume {RUN}" in err


def test_json_result_is_alone_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(after={"eval/arithmetic/avg@1": math.nan})
    assert foreground(training(ended, tmp_path), "tiny", 200, None, json=True) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["id"], found["state"], found["directory"]) == (RUN, "finished", str(Path("runs") / RUN))
    assert found["after"] == {"eval/arithmetic/avg@1": "NaN"}
    assert "step 3/3" in err


def test_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([0, math.nan, 1], 3) == "▁!█"
    assert sparkline([math.inf], 5) == "!"
    assert sparkline([2, 2, 2], 3) == "▄▄▄"
    assert sparkline([], 5) == sparkline([1, 2], 0) == ""
    assert len(sparkline(range(1000), 60)) == 60
    largest = sys.float_info.max
    assert sparkline([-largest, 0.0, largest], 3) == "▁▅█"
    assert sparkline([-largest, -largest, largest, largest], 2) == "▁█"
    assert sparkline([0.0, 5e-324], 2) == "▁█"
    assert sparkline([1.0, 1.0 + sys.float_info.epsilon], 2) in ("▁█", "▄▄")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.3124, "0.312"), (-0.0, "-0.000"), (12.34, "12.3"), (1203.4, "1,203"), (1e-6, "1.0e-06"), (math.nan, "nan")],
)
def test_number(value: float, shown: str) -> None:
    assert number(value) == shown


def test_durations_and_sizes() -> None:
    assert [duration(seconds) for seconds in (0, 42.4, 3723, 200_000)] == ["0:00", "0:42", "1:02:03", "2d 07:33:20"]
    assert (byte_size(812 * 2**20), byte_size(1.3 * 2**30)) == ("812 MiB", "1.3 GiB")
