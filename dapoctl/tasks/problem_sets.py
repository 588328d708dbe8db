"""Problem sets known by name: where they are on the hub, which columns and split count, what their licence is.

A name stands for the same problems in `dapoctl eval --task`, in `eval.set` during training and as `math.data`. Nothing
is loaded before it is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from dapoctl.batch import Problem
from dapoctl.errors import DataError, nearest

DATA_TASK = "math"
"""The task that asks and scores the problems of a set or a data file"""


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """One set under its name."""

    name: str
    title: str
    licence: str
    """The licence and where it is stated, if known"""
    hub: str = ""
    """`owner/name`, with a configuration `owner/name:configuration`; empty for problems that are made on the spot"""
    test_split: str = "test"
    """The hub's split that evaluations use"""
    train_split: str = ""
    """The hub's split to train on; empty for the only one"""
    problem: str = "problem"
    """Column of the question"""
    answer: str = "answer"
    """Column of the final answer"""
    context: str = ""
    """Column of text that comes before the question, if it is apart"""
    units: bool = False
    """Whether answers have units in parentheses, which are left out"""
    id: str = ""
    """Column that tells problems apart; empty for the row's number"""
    released: str = ""
    """When its problems became public, as `YYYY-MM`: a model that is older cannot have seen them; empty if not known"""
    task: str = DATA_TASK
    """The component that asks and scores its problems"""

    def split(self, purpose: str) -> str:
        """The hub's split for "train" or "test"."""
        return self.train_split or self.test_split if purpose == "train" else self.test_split


def _arena(
    name: str, title: str, hub: str, released: str, licence: str = "CC BY-NC-SA 4.0; see the set's page"
) -> ProblemSet:
    """A competition as MathArena (matharena.ai) publishes it."""
    return ProblemSet(name, title, licence, f"MathArena/{hub}", "train", id="problem_idx", released=released)


_MAA = "problems (c) Mathematical Association of America; see the set's page"
SETS = {
    known.name: known
    for known in (
        ProblemSet(
            "aime24",
            "AIME 2024 I and II, 30 problems, answers 0-999",
            _MAA,
            "HuggingFaceH4/aime_2024",
            "train",
            id="id",
            released="2024-02",
        ),
        ProblemSet(
            "aime25",
            "AIME 2025 I and II, 30 problems, answers 0-999",
            _MAA,
            "math-ai/aime25",
            id="id",
            released="2025-02",
        ),
        _arena("aime26", "AIME 2026 I and II, 30 problems, answers 0-999", "aime_2026", "2026-02", _MAA),
        ProblemSet(
            "aime22to24",
            "AIME 2022 to 2024, 90 problems, answers 0-999",
            _MAA,
            "AI-MO/aimo-validation-aime",
            "train",
            id="id",
            released="2024-02",
        ),
        _arena("hmmt25feb", "Harvard-MIT tournament, February 2025, 30 problems", "hmmt_feb_2025", "2025-02"),
        _arena("hmmt25nov", "Harvard-MIT tournament, November 2025, 30 problems", "hmmt_nov_2025", "2025-11"),
        _arena("hmmt26feb", "Harvard-MIT tournament, February 2026, 33 problems", "hmmt_feb_2026", "2026-02"),
        _arena("brumo25", "Brown University tournament 2025, 30 problems", "brumo_2025", "2025-04"),
        ProblemSet(
            "math500",
            "500 problems of MATH (Lightman et al. 2023)",
            "MIT (Hendrycks et al. 2021)",
            "HuggingFaceH4/MATH-500",
            id="unique_id",
            released="2021-03",
        ),
        ProblemSet(
            "gsm8k",
            "grade-school word problems, 1,319 to test on, 7,473 to train on",
            "MIT (Cobbe et al. 2021)",
            "openai/gsm8k:main",
            train_split="train",
            problem="question",
            released="2021-10",
        ),
        ProblemSet(
            "svamp",
            "word problems of one step in varied words, 300 to test on",
            "MIT (Patel et al. 2021)",
            "ChilleD/SVAMP",
            train_split="train",
            problem="question_concat",
            answer="Answer",
            id="ID",
            released="2021-03",
        ),
        ProblemSet(
            "asdiv",
            "grade-school word problems in varied words, 2,305 of six grades",
            "CC BY-NC 4.0 (Miao et al. 2020)",
            "EleutherAI/asdiv:asdiv",
            "validation",
            problem="question",
            context="body",
            units=True,
            released="2020-07",
        ),
        ProblemSet(
            "amc23",
            "AMC 12 2023, 40 problems",
            _MAA,
            "math-ai/amc23",
            problem="question",
            id="id",
            released="2023-11",
        ),
        ProblemSet(
            "dapo17k",
            "the 17,398 different problems of DAPO-Math-17k, integer answers, to train on",
            "Apache-2.0 (Yu et al. 2025, BytedTsinghua-SIA/DAPO-Math-17k)",
            "open-r1/DAPO-Math-17k-Processed:all",
            "train",
            problem="prompt",
            answer="solution",
        ),
        ProblemSet("arithmetic", "additions, made on the spot", "part of dapoctl", task="arithmetic"),
    )
}


def find_set(name: str) -> ProblemSet | None:
    """The set called `name`; None if there is none."""
    return SETS.get(name)


def unknown_set(name: str, others: Sequence[str] = ()) -> DataError:
    """The error for a name that is not a set; `others` are further names that may have been meant."""
    known = [*SETS, *(other for other in others if other not in SETS)]
    return DataError(
        f"unknown set `{name}`.{nearest(name, known)} Known: {', '.join(known)}; or give a .jsonl or .parquet file with"
        " `problem` and `answer` (--data FILE)"
    )


def content_hash(problems: Sequence[Problem]) -> str:
    """SHA-256 over ids, questions and answers, in order: the same problems, whatever the prompt around them."""
    content = [[problem.id, question_of(problem), problem.answer] for problem in problems]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def question_of(problem: Problem) -> str:
    """The question without the prompt around it."""
    question = problem.meta.get("problem")
    return question if isinstance(question, str) else problem.prompt
