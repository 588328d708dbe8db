"""Wrappers around a run's task act in its evaluations as in training, and in `dapoctl eval` of the run. Trains one step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dapoctl.config.resolve import load
from dapoctl.runs.files import read_json, read_lines
from dapoctl.training import attempt
from tests.support.background import SHORT
from tests.support.cli import on_store
from tests.support.helpers import plugin_file

WRAPPERS = '''
    """What is asked, and how it is judged."""
    from dataclasses import replace

    from dapoctl import Component, Problem, Score, hookimpl

    class Asks(Component):
        """Ask for a length."""
        tokens: int = 25
        @hookimpl(wrapper=True)
        def load_problems(self, split):
            problems = yield
            return [replace(problem, prompt=f"{self.tokens}+0=0{problem.prompt}") for problem in problems]

    class Lenient(Component):
        """All is right."""
        @hookimpl(wrapper=True)
        def score_response(self, problem, text):
            verdict = yield
            return replace(verdict, value=1.0, correct=True, outcome="right")
'''
SETTINGS = (*SHORT[1:-1], "steps=1", "eval.limit=4", "rollout.max_prompt_tokens=24", "asks.tokens=7")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrapped")
    file = plugin_file(folder, WRAPPERS, "wrap.py")
    resolved = load([], SETTINGS, {"plugins": [f"{file}:Asks", f"{file}:Lenient"]})
    return attempt.start(resolved, folder / "runs", ["test"]).directory


def test_they_act_in_the_evaluations_of_the_run(run: Path) -> None:
    trained = [row for row in read_lines(run / "samples" / "step_1.jsonl") if "prompt" in row]
    assert trained
    assert all(row["prompt"].startswith("7+0=0") for row in trained)
    for step in (0, 1):
        folder = run / "evals" / "arithmetic" / f"step_{step}"
        rows = [row for row in read_lines(folder / "samples.jsonl") if "prompt" in row]
        assert len(rows) == 4
        assert all(row["prompt"].startswith("7+0=0") and row["correct"] for row in rows)
        summary = read_json(folder / "summary.json")
        assert summary["metrics"]["eval/arithmetic/avg@1"] == 1
        assert summary["protocol"]["scorer"] == "arithmetic+lenient"


def test_they_act_when_the_run_is_evaluated_on_its_own_set(run: Path) -> None:
    command = ("eval", str(run), "--task", "arithmetic", "-k", "1", "--limit", "3", "--as", "again", "--json")
    found = json.loads(on_store(*command, root=run.parent, code=0).stdout)
    assert found["metrics"]["eval/again/avg@1"] == 1
    assert found["protocol"]["scorer"] == "arithmetic+lenient"
    rows = [row for row in read_lines(Path(found["directory"]) / "samples.jsonl") if "prompt" in row]
    assert all(row["prompt"].startswith("7+0=0") for row in rows)


def test_a_wrapper_that_has_changed_is_no_ruler(run: Path) -> None:
    file = run.parent.parent / "wrap.py"
    source = file.read_text()
    file.write_text(source + "\n# changed\n")
    try:
        done = on_store("eval", str(run), "--task", "arithmetic", "--as", "other", root=run.parent, code=2)
    finally:
        file.write_text(source)
    assert "is not what run" in done.stderr
    assert "put it back" in done.stderr


def test_where_they_do_not_act_the_run_says_so(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, WRAPPERS, "wrap.py")
    plugins = {"plugins": [f"{file}:Lenient"]}
    (warning,) = load([], ["eval.set=['aime24', 'arithmetic']"], plugins).warnings
    assert "`lenient` (score_response) around the task `arithmetic`" in warning
    assert "not on `eval.set` = aime24" in warning
    assert load([], [], plugins).warnings == ()
    assert load([], ["eval.set=['aime24']", "eval.every=0"], plugins).warnings == ()
