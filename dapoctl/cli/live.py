"""The foreground display: an observer that updates a block on a terminal, and writes plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, TextIO

from pydantic import PrivateAttr
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live

from dapoctl.batch import RunInfo
from dapoctl.components.base import Component
from dapoctl.hookspecs import hookimpl
from dapoctl.views.evaluation import WORDS
from dapoctl.views.metrics import is_held_out, title
from dapoctl.views.numbers import duration
from dapoctl.views.progress import Progress
from dapoctl.views.progress_block import block, eval_lines, step_line
from dapoctl.views.text import one_line

PATIENCE = 30.0
"""Seconds after which a plain log repeats the current phase."""
ANNOUNCED = ("load", "eval", "stop")
"""Phases that a plain log names when they begin; those of a step are too frequent."""


class Display(Component):
    """Show a run's progress to the person who started it.

    If the terminal disappears, the display ends; the run continues.
    """

    _console: Console = PrivateAttr()
    _progress: Progress = PrivateAttr()
    _live: Live | None = PrivateAttr(default=None)
    _run: RunInfo | None = PrivateAttr(default=None)
    _gone: bool = PrivateAttr(default=False)
    _printed_at: float = PrivateAttr(default=0.0)
    _keep_log: bool = PrivateAttr(default=True)
    _log: TextIO | None = PrivateAttr(default=None)
    _log_path: Path | None = PrivateAttr(default=None)

    @classmethod
    def on(cls, console: Console, progress: Progress, keep_log: bool = True) -> Self:
        """A display of `progress` on `console`: live if that is a terminal with cursor control.

        With `keep_log` its plain lines also go to the attempt's log, where `dapoctl runs logs` finds them.
        """
        display = cls()
        display._console, display._progress, display._keep_log = console, progress, keep_log
        if can_redraw(console):
            display._live = Live(_Block(progress), console=console, refresh_per_second=4)
        return display

    @property
    def progress(self) -> Progress:
        """The run's progress so far."""
        return self._progress

    @property
    def run(self) -> RunInfo | None:
        """The run; None until its model is loaded."""
        return self._run

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the display up to date within the block; the last state stays on the screen."""
        if self._live is None:
            yield
            return
        self._live.start(refresh=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._live.stop()

    def on_phase(self, phase: str, done: int, total: int) -> None:
        """The current phase of a step; called by the trainer."""
        new = self._progress.enter(phase, done, total)
        waited = self._progress.clock() - self._printed_at
        if (new and phase in ANNOUNCED) or (not new and waited > PATIENCE):
            self._line(f"step {self._progress.step}/{self._progress.steps} {self._progress.phase_text}")

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        from dapoctl.runs.attempts import LOG, attempts
        from dapoctl.runs.summary import metric_rows

        self._run = run
        tried = attempts(run.directory) if self._keep_log else []
        if tried:
            with contextlib.suppress(OSError):
                self._log_path = tried[-1] / LOG
                self._log = self._log_path.open("a", encoding="utf-8")
        self._progress.title, self._progress.components = run.id, ", ".join(run.components)
        self._progress.steps = run.steps
        if run.start_step:
            for row in metric_rows(run.directory):
                if row["step"] <= run.start_step:
                    self._progress.record(row["step"], row["metrics"])
        self._progress.begin(run.start_step)
        self._line(f"run {run.id} {self._progress.components}")

    @hookimpl
    def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
        self._progress.advance(step, metrics)
        if step:
            self._line(step_line(self._progress))
        for line in eval_lines(self._progress, [title(name) for name in metrics if is_held_out(name)]):
            self._line(line)

    @hookimpl
    def on_run_end(self, state: str) -> None:
        self._progress.enter(state)
        self._record(state)
        if self._log is not None:
            self._log.close()
            self._log = None

    def leave_word(self, lines: Sequence[str]) -> None:
        """Write lines to the end of the attempt's log, if that is kept, once the run has ended."""
        if self._log_path is not None:
            with contextlib.suppress(OSError), self._log_path.open("a", encoding="utf-8") as log:
                print(*map(one_line, lines), sep="\n", file=log)

    def _record(self, text: str) -> None:
        if self._log is not None:
            with contextlib.suppress(OSError):
                print(one_line(text), file=self._log, flush=True)

    def _line(self, text: str) -> None:
        self._printed_at = self._progress.clock()
        self._record(text)
        if self._live is not None or self._gone:
            return
        try:
            print(one_line(text), file=self._console.file, flush=True)
        except OSError:
            self._gone = True


class _Block:
    """The block as a rich renderable, at the console's current width."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Group(*block(self._progress, options.max_width))


def can_redraw(console: Console) -> bool:
    """Whether the console is a terminal in which lines can be rewritten."""
    return bool(console.file.isatty()) and os.environ.get("TERM", "") not in ("dumb", "unknown")


def console_on(stream: TextIO) -> Console:
    """A console without markup, highlighting and emoji."""
    return Console(file=stream, markup=False, highlight=False, emoji=False)


SILENCE = 15.0
"""Seconds between lines on a stream where lines cannot be rewritten"""


class Ticker:
    """One line on `stream`: rewritten on a terminal, else printed at intervals."""

    def __init__(self, stream: TextIO, label: str, unit: str = "responses") -> None:
        """`unit`: of what is counted."""
        self._stream, self._unit = stream, unit
        self._label = one_line(label)
        self._redraws = stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._begun: tuple[float, int] | None = None
        self._last = -SILENCE
        self._phase = ""

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """End the line at the end of the block, so that it stays."""
        try:
            yield
        finally:
            if self._redraws and self._phase:
                self._write("\n")

    def tell(self, phase: str, done: int, total: int) -> None:
        """Show the phase, and how much of it is done."""
        now = time.monotonic()
        new, self._phase = phase != self._phase, phase
        if new and total:
            self._begun = now, done
        if self._redraws:
            # A line that wraps cannot be rewritten.
            columns = shutil.get_terminal_size((80, 24)).columns
            self._write(f"\r\x1b[2K{self._text(now, done, total)[: columns - 1]}")
        elif new or now - self._last >= SILENCE or (total and done == total):
            self._last = now
            self._write(self._text(now, done, total) + "\n")

    def _text(self, now: float, done: int, total: int) -> str:
        if not total or self._begun is None:
            return f"{self._label}: {WORDS.get(self._phase, self._phase)}"
        begun, before = self._begun
        text = f"{self._label}, {self._phase}: {done:,} of {total:,} {self._unit}, {duration(now - begun)}"
        if before < done < total:
            text += f", about {duration((now - begun) / (done - before) * (total - done))} left"
        return text

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
