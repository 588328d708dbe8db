"""The task `math`: problems from a file or the hub, answers compared by their mathematical meaning."""

from __future__ import annotations

import hashlib
import itertools
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr, field_validator

from dapoctl.batch import Problem, Score
from dapoctl.components.base import Component
from dapoctl.errors import DataError, RunWarning
from dapoctl.hookspecs import hookimpl
from dapoctl.tasks.problem_sets import question_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dapoctl.tasks.scorers import Scorer

INSTRUCTION = (
    "Work through this math problem step by step. The last line of your response must be of the form "
    "Answer: $Answer (without quotes), where $Answer is the answer to the problem and nothing else.\n\n"
    "{problem}\n\n"
    'Finish with your result on a line of its own after "Answer:".'
)
FIRST_ROWS = 16
"""Rows of a file that are looked at before a run is made"""
_CREATE = threading.Lock()


class Math(Component):
    """Math problems with a known final answer.

    The final answer is that of the last `Answer:` line (or `#### 72`, `<answer>72</answer>`), else the last `\\boxed{...}`,
    else that of `the answer is ...`, in the last 3000 characters. A response without any of these is unanswered, unless it is
    nothing but the answer. Several answers to a question for one are wrong; so is an expression copied from the question,
    unless it is the answer's own text.
    """

    paper = "Answer line after DAPO (arXiv:2503.14476); comparison by math-verify"

    data: str = ""
    """Problems: a .jsonl or .parquet file, a known set (`dapo17k`, `gsm8k`), or a `datasets` name (`owner/name`,
    `owner/name:config`)."""
    problem_field: str = Field("problem", min_length=1)
    """The field that holds the question."""
    answer_field: str = Field("answer", min_length=1)
    """The field that holds the final answer; of a worked solution that ends in `#### 72`, what follows the mark."""
    split: str = Field("train", min_length=1)
    """The split of `data` to load when it is a `datasets` name; known sets have their own."""
    test_data: str = ""
    """Held-out problems, as `data`; training problems with the same text are dropped. Empty: a part of `data`."""
    test_split: str = Field("test", min_length=1)
    """The split of `test_data` to load when it is a `datasets` name; known sets have their own."""
    test_fraction: float = Field(0.1, ge=0, le=1)
    """Share of `data` that is held out when there is no `test_data`, by a hash of each problem's text."""
    instruction: str = INSTRUCTION
    """What the model is asked; `{problem}` stands for the question, other braces for themselves."""
    scorer: str = "math"
    """The rule that says whether an answer is right: `math`, `math_lenient` (an unmarked answer counts), `dapo` (the public
    DAPO scorer's, verl's math_dapo of 2026-01), `dapo_boxed` (verl's of 2026-08) or `strict`."""
    right: float = 1.0
    """Reward of a correct answer."""
    wrong: float = -1.0
    """Reward of everything else: wrong, unanswered, timeout, error."""
    timeout_s: float = Field(5.0, gt=0, le=600)
    """Seconds that comparing one answer may take before its worker is killed."""
    workers: int = Field(4, ge=1, le=256)
    """Verifier processes at most; each holds about 100 MB and starts when it is first needed."""

    _verifier: Scorer | None = PrivateAttr(default=None)

    @field_validator("instruction")
    @classmethod
    def _has_placeholder(cls, value: str) -> str:
        if "{problem}" not in value:
            raise ValueError("must contain {problem}, the place where the question goes")
        return value

    @field_validator("scorer")
    @classmethod
    def _is_known(cls, value: str) -> str:
        from dapoctl.tasks.scorers import SCORERS

        if value not in SCORERS:
            raise ValueError(f"must be one of {', '.join(SCORERS)}")
        return value

    def check_data(self, split: str) -> None:
        """The first rows of what `split` needs: a file's, for nothing is looked up on the hub.

        Raises:
            DataError: naming the key, its value and what to do.
        """
        named = {"data": self.data, "test_data": self.test_data}
        if split == "test" and self.test_data:
            del named["data"]
        elif not self.data:
            raise self._unset()
        for option, source in named.items():
            if not source:
                continue
            try:
                self._look(option, source)
            except DataError as error:
                raise DataError(f"`{self.name}.{option}` = {source!r}: {error}") from None

    def _look(self, option: str, source: str) -> None:
        from dapoctl.tasks.problem_sets import find_set
        from dapoctl.tasks.read_problems import read_set, to_problems
        from dapoctl.tasks.rows import check_source, read_rows

        known = None if Path(source).exists() else find_set(source)
        if known is not None and not known.hub:
            next(read_set(known, "train"))
        if known is None and check_source(source) is not None:
            rows = itertools.islice(read_rows(source, ""), FIRST_ROWS)
            to_problems(rows, self.problem_field, self.answer_field, self.instruction, f"{option} {source}", self.name)

    def data_files(self) -> list[str]:
        return [source for source in (self.data, self.test_data) if source and Path(source).expanduser().is_file()]

    def _unset(self) -> DataError:
        return DataError(
            f"{self.name}.data is not set; give a file or a set, such as --set {self.name}.data=FILE.jsonl"
        )

    @hookimpl
    def load_problems(self, split: str) -> Sequence[Problem]:
        """The problems of "train" or "test", in the file's order.

        Raises:
            DataError: the data cannot be read, or there is nothing in the split.
        """
        if split not in ("train", "test"):
            raise DataError(f"{self.name} has the splits `train` and `test`, not `{split}`")
        held_out = self._read("test_data", self.test_data, self.test_split) if self.test_data else []
        if self.test_data and split == "test":
            return held_out
        if not self.data:
            raise self._unset()
        problems = self._read("data", self.data, self.split)
        if self.test_data:
            known = {_key(problem) for problem in held_out}
            chosen = [problem for problem in problems if _key(problem) not in known]
        else:
            chosen = [
                problem for problem in problems if (_hash_fraction(problem) < self.test_fraction) == (split == "test")
            ]
        if not chosen:
            raise DataError(
                f"{self.name}: the {len(problems)} problems of {self.data} leave none for `{split}` "
                + ("that is not in test_data; " if self.test_data else f"at test_fraction = {self.test_fraction}; ")
                + (
                    f"set {self.name}.test_data or change {self.name}.test_fraction"
                    if not self.test_data
                    else "use other data"
                )
            )
        return chosen

    @hookimpl
    def score_response(self, problem: Problem, text: str) -> Score:
        """The verdict, from any thread."""
        if self._verifier is None:
            from dapoctl.tasks.scorers import build_scorer

            with _CREATE:
                self._verifier = self._verifier or build_scorer(self.scorer, self.workers, self.timeout_s)
        verdict = self._verifier.verify(text, problem.answer, question_of(problem))
        correct = verdict.outcome == "right"
        return Score(self.right if correct else self.wrong, correct, verdict.extracted, verdict.outcome, verdict.marked)

    def close(self) -> None:
        """Kill the verifier's processes."""
        with _CREATE:
            verifier, self._verifier = self._verifier, None
        if verifier is not None:
            verifier.close()

    def _read(self, option: str, source: str, split: str) -> list[Problem]:
        from dapoctl.tasks.golds import unreadable
        from dapoctl.tasks.problem_sets import find_set
        from dapoctl.tasks.read_problems import read_set, repeats, to_problems
        from dapoctl.tasks.rows import read_rows

        known = None if Path(source).exists() else find_set(source)
        if known is not None:
            rows: Iterable[tuple[str, Any]] = read_set(known, "train" if option == "data" else "test")
            fields = ("problem", "answer")
        else:
            rows, fields = read_rows(source, split), (self.problem_field, self.answer_field)
        # The other rules compare text alone, for which any answer does.
        doubt = unreadable if self.scorer in ("math", "math_lenient") else None
        problems = to_problems(rows, *fields, self.instruction, f"{option} {source}", self.name, doubt)
        if words := repeats(problems, source):
            warnings.warn(words, RunWarning, stacklevel=2)
        return problems


def _key(problem: Problem) -> str:
    """The prompt up to white space, so that a problem is recognised in another file."""
    return " ".join(problem.prompt.split())


def _hash_fraction(problem: Problem) -> float:
    """A number in [0, 1) that depends on the problem's text alone."""
    return int.from_bytes(hashlib.sha256(_key(problem).encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64
