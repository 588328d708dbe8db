"""Idea against the conformance kit and its rules."""

from dapoctl import Problem, Score
from dapoctl.authoring.templates.components.task import Idea
from dapoctl.testing import check_component


def test_conforms() -> None:
    check_component(Idea)


def test_problems() -> None:
    task = Idea(largest=16)
    assert [problem.answer for problem in task.load_problems("test")] == ["16", "32"]
    training = task.load_problems("train")
    assert training[0] == Problem(id="1+1", prompt="1+1=", answer="2")
    assert len(training) == 14


def test_verdicts() -> None:
    task, problem = Idea(near=0.25), Problem("21+21", "21+21=", "42")
    assert task.score_response(problem, "1+1=2 so 42") == Score(1.0, True, "42", "right")
    assert task.score_response(problem, "43") == Score(0.25, False, "43", "wrong")
    assert task.score_response(problem, "42 or 420") == Score(-1.0, False, "420", "wrong")
    assert task.score_response(problem, "no idea") == Score(-1.0, False, None, "unanswered")
