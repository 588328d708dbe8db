"""A plugin that fails while a run is under way: what was done is kept, the run says why, and goes on once it is mended."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from dapoctl.engines import Completion, Sampling
from dapoctl.engines.checked import CheckedEngine
from dapoctl.errors import HookError
from dapoctl.runs.files import read_json, read_lines
from dapoctl.runs.summary import read_run
from tests.support.broken import dapoctl, idea, line_of, shaper, train
from tests.support.cli import Done
from tests.support.metrics import stable_metrics

if TYPE_CHECKING:
    from dapoctl.engines import Engine


def only_run(folder: Path) -> Path:
    (directory,) = (path for path in (folder / "runs").iterdir() if not path.name.startswith("."))
    return directory


def last_exit(directory: Path) -> dict[str, Any]:
    said: dict[str, Any] = read_json(max((directory / "attempts").iterdir()) / "exit.json")
    return said


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_lines(directory / "events.jsonl") if row.get("event") == kind]


def run_idea(folder: Path, source: str, *settings: str) -> Done:
    (folder / "my_idea.py").write_text(source, encoding="utf-8")
    done = train(folder, "./my_idea.py", *settings)
    assert "Traceback" not in done.stderr
    return done


# What a hook must not give: (source, what is said)

RESULTS = {
    "shape": ("return batch.rewards[:-1]", ["hook `shape_rewards` returned shape [3]; it must return [4]"]),
    "nan": ("return batch.rewards / 0.0 * 0.0", ["returned 4 values of 4 that are NaN", "division by zero"]),
    "none": ("batch.rewards + 1", ["returned None; it must return a value (is a `return` missing?)"]),
    "numpy": ("return batch.rewards.numpy()", ["returned ndarray; it must return a torch tensor of shape [4]", "as_tensor"]),
    "list": ("return [0.0] * 4", ["returned list; it must return a torch tensor of shape [4]", "as_tensor"]),
    "number": ("return 0.5", ["returned float; it must return a torch tensor of shape [4]", "torch.full"]),
    "exit": ("import sys\nsys.exit(0)", ["hook `shape_rewards` raised SystemExit: 0"]),
    "not asked for": ("return batch.tokens", ["raised AttributeError", "tokens"]),
}  # fmt: skip


@pytest.mark.parametrize("case", RESULTS)
def test_what_a_hook_must_not_return(case: str, tmp_path: Path) -> None:
    body, said = RESULTS[case]
    done = run_idea(tmp_path, shaper(body), "steps=2")
    assert done.returncode == 1, done.stderr
    for part in ("component `idea`, hook `shape_rewards`", *said):
        assert part in done.stderr
    ended = last_exit(only_run(tmp_path))
    assert ended["state"] == "failed"
    assert said[0] in ended["error"]


OTHER_HOOKS = {
    "select_prompts": ("(self, pool, count)", "return ['a'] * count", "hook `select_prompts` returned ['a', 'a']"),
    "load_problems": ("(self, split)", "return ['1 + 1']", "`load_problems` returned list; it must return a list of dapoctl.P"),
    "plan_refill": ("(self)", "return 3", "hook `plan_refill` returned int, not a dapoctl.Refill"),
}  # fmt: skip


@pytest.mark.parametrize("hook", OTHER_HOOKS)
def test_results_that_are_no_tensors(hook: str, tmp_path: Path) -> None:
    arguments, body, said = OTHER_HOOKS[hook]
    source = idea(f"@hookimpl\ndef {hook}{arguments}:\n    {body}")
    if hook == "load_problems":
        source += "    @hookimpl\n    def score_response(self, problem, text): ...\n"
        (tmp_path / "my_idea.py").write_text(source, encoding="utf-8")
        done = train(tmp_path, "gkl", "steps=1", "task=./my_idea.py")
    else:
        done = run_idea(tmp_path, source, "steps=1")
    assert done.returncode == 1, done.stderr
    assert said in done.stderr


# Engines: whatever their calls do is told with their component's name

ENGINE = """
from dapoctl import Component, Completion, hookimpl

class Idea(Component):
    \'\'\'Samples the same token again and again.\'\'\'

    @hookimpl
    def build_engine(self, policy):
        return Same()

class Same:
    calls = 0

    def generate(self, prompt_ids, sampling, n):
        self.calls += 1
        one = Completion([5, 6], [-0.5, -0.5], "length")
        if self.calls == 3:
            {body}
        return [[one] * n for _ in prompt_ids]

    def load_weights(self, weights): {load}
    def sleep(self): ...
    def wake(self): ...
    def close(self): ...
"""
ENGINES = {
    "raises": ("raise OSError('no answer')", "...", "the engine's `generate` raised OSError: no answer (my_idea.py:"),
    "weights": ("pass", "next(iter(weights))[1].view(-1, 7)", "the engine's `load_weights` raised RuntimeError: shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", ENGINES)
def test_an_engine_that_fails_at_step_3(case: str, tmp_path: Path) -> None:
    body, load, said = ENGINES[case]
    (tmp_path / "my_idea.py").write_text(ENGINE.format(body=body, load=load), encoding="utf-8")
    settings = (
        "engine=./my_idea.py",
        "steps=3",
        "eval.every=0",
        "checkpoint.every=0",
        "rollout.max_response_tokens=32",
    )
    done = train(tmp_path, "grpo", *settings)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "component `idea`" in done.stderr
    assert said in done.stderr
    directory = only_run(tmp_path)
    assert said in last_exit(directory)["error"]
    if case != "weights":
        assert (directory / "checkpoints" / "latest").read_text().strip() == "step_2"


ONE = Completion([5, 6], [-0.5, -0.5], "length")
SAMPLED: dict[str, tuple[object, str]] = {
    "none": (None, "NoneType for 2 prompts; it must return a list of one group for each"),
    "groups": ([[ONE, ONE]], "1 groups for 2 prompts"),
    "completions": ([[ONE], [ONE, ONE]], "1 completions for prompt 0; it was asked for 2"),
    "logprobs": ([[ONE, ONE], [ONE, Completion([5, 6], [-0.5], "stop")]], "2 tokens and 1 logprobs for prompt 1"),
    "length": ([[ONE, Completion([5] * 9, [-0.5] * 9, "stop")]] * 2, "9 tokens for prompt 0; it must have 1 to max_tokens = 8"),
    "empty": ([[ONE, Completion([], [], "stop")]] * 2, "0 tokens for prompt 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAMPLED)
def test_what_an_engine_must_not_return(case: str) -> None:
    result, said = SAMPLED[case]

    class Given:
        """Returns what it is told to."""

        def generate(self, *_arguments: object) -> object:
            return result

        load_weights = sleep = wake = close = generate

    engine = CheckedEngine("idea", cast("Engine", Given()))
    with pytest.raises(HookError, match=re.escape("component `idea`, the engine's `generate` returned ")) as caught:
        engine.generate([[1], [2]], Sampling(8), 2)
    assert said in str(caught.value)


def test_an_engine_that_ends_the_program_does_not() -> None:
    class Exits:
        """Calls sys.exit."""

        def generate(self, *_arguments: object) -> object:
            raise SystemExit(3)

        load_weights = sleep = wake = close = generate

    with pytest.raises(HookError, match="the engine's `sleep` raised SystemExit: 3"):
        CheckedEngine("idea", cast("Engine", Exits())).sleep()


def test_what_is_no_engine(tmp_path: Path) -> None:
    source = ENGINE.format(body="pass", load="...").replace("    def wake(self): ...\n", "")
    (tmp_path / "my_idea.py").write_text(source, encoding="utf-8")
    done = train(tmp_path, "grpo", "engine=./my_idea.py", "steps=1")
    assert done.returncode == 1, done.stderr
    assert "hook `build_engine` returned Same, which has no `wake`; an engine has generate, load_weights" in done.stderr


# A bug at step 7

BUG = shaper(
    """
    rewards = 0 * batch.rewards
    if batch.step == 7:
        rewards = odd(rewards)
    return rewards
    """
).replace("class Idea", "def odd(rewards):\n    return rewards.view(3, 5)\n\n\nclass Idea")


def test_a_bug_at_step_7_is_mended_and_the_run_goes_on(tmp_path: Path) -> None:
    done = run_idea(tmp_path, BUG, "steps=8", "checkpoint.every=4")
    assert done.returncode == 1
    directory = only_run(tmp_path)
    where = f"my_idea.py:{line_of(BUG, 'view(3, 5)')}"
    assert "component `idea`, hook `shape_rewards` raised RuntimeError: shape" in done.stderr
    assert where in done.stderr
    log = directory / "attempts" / "1" / "stdout.log"
    assert f"traceback in {log.relative_to(tmp_path)}" in done.stderr
    text = log.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert f'my_idea.py", line {line_of(BUG, "rewards = odd")}, in shape_rewards' in text

    # The six steps before it are saved, though no checkpoint was due after the fourth.
    assert (directory / "checkpoints" / "latest").read_text().strip() == "step_6"
    ended = last_exit(directory)
    assert (ended["state"], where in ended["error"]) == ("failed", True)
    summary = read_run(directory)
    assert (summary.state, summary.step) == ("failed", 6)
    shown = dapoctl(tmp_path, "runs", "show", "last")
    assert "failed, step 6 of 8" in shown.stdout
    assert where in shown.stdout

    # Nothing has changed, so it fails again; the file is mended, and nobody agreed to that yet.
    assert dapoctl(tmp_path, "runs", "resume", "last").returncode == 1
    (tmp_path / "my_idea.py").write_text(BUG.replace("rewards = odd(rewards)", "pass"), encoding="utf-8")
    refused = dapoctl(tmp_path, "runs", "resume", "last")
    assert refused.returncode == 2
    assert f"`dapoctl runs resume {directory.name} --changed-plugins` goes on with it as it is now" in refused.stderr
    refused = dapoctl(tmp_path, "runs", "resume", "last", "--detach")
    assert refused.returncode == 2, refused.stdout

    # One that is broken otherwise now is not agreed to.
    mended = (tmp_path / "my_idea.py").read_text(encoding="utf-8")
    (tmp_path / "my_idea.py").write_text(mended + "def (", encoding="utf-8")
    assert dapoctl(tmp_path, "runs", "resume", "last", "--changed-plugins").returncode == 2
    assert not (directory / "plugins.json").exists()
    (tmp_path / "my_idea.py").write_text(mended, encoding="utf-8")
    went_on = dapoctl(tmp_path, "runs", "resume", "last", "--changed-plugins")
    assert went_on.returncode == 0, went_on.stderr
    assert read_run(directory).state == "finished"
    (noted,) = events(directory, "plugin_changed")
    assert (noted["component"], noted["what"], noted["step"]) == ("idea", "sha256", 6)
    assert noted["from"] == read_json(directory / "spec.json")["pipeline"]["idea"]["sha256"] != noted["to"]
    shown = dapoctl(tmp_path, "runs", "show", "last")
    assert f"idea ({tmp_path / 'my_idea.py'}) after step 6" in shown.stdout

    # As if the bug had never been.
    (tmp_path / "whole").mkdir()
    assert run_idea(tmp_path / "whole", BUG.replace("rewards = odd(rewards)", "pass"), "steps=8").returncode == 0
    assert stable_metrics(directory) == stable_metrics(only_run(tmp_path / "whole"))


def test_a_bug_between_two_updates_of_a_step_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    source = idea(
        """
        @hookimpl
        def regularize(self, tokens):
            CALLS.append(tokens)
            if len(CALLS) == 8:
                raise ValueError("in the second update")
            return 0 * tokens.logprobs
        """
    ).replace("class Idea", "CALLS = []\n\n\nclass Idea")
    done = run_idea(tmp_path, source, "steps=6", "optim.updates=2", "checkpoint.every=2")
    assert done.returncode == 1
    directory = only_run(tmp_path)
    assert "hook `regularize` raised ValueError: in the second update" in done.stderr
    step = read_run(directory).step
    assert step == 3
    assert (directory / "checkpoints" / "latest").read_text().strip() == "step_2"


# Observers, state, and the end

WATCH = """
@hookimpl
def on_step_end(self, step, metrics):
    if step == 3:
        raise ConnectionError("no route")
"""


def test_an_observer_that_raises_is_told_the_step_again_once_it_is_mended(tmp_path: Path) -> None:
    done = run_idea(tmp_path, idea(WATCH), "steps=4", "checkpoint.every=4")
    assert done.returncode == 1
    assert "component `idea`, hook `on_step_end` raised ConnectionError: no route (my_idea.py:" in done.stderr
    directory = only_run(tmp_path)
    assert (directory / "checkpoints" / "latest").read_text().strip() == "step_3"
    (tmp_path / "my_idea.py").write_text(idea(WATCH).replace("raise ConnectionError", "print"), encoding="utf-8")
    went_on = dapoctl(tmp_path, "runs", "resume", "last", "--changed-plugins")
    assert went_on.returncode == 0, went_on.stderr
    assert "no route" in went_on.stdout
    assert [row["step"] for row in read_lines(directory / "metrics.jsonl") if "step" in row] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("@hookimpl\ndef on_run_end(self, state):", "component `idea`, hook `on_run_end` raised OSError: too late"),
        (
            "@hookimpl\ndef on_run_start(self): ...\ndef close(self):",
            "component `idea`, `close` raised OSError: too late",
        ),
    ],
)
def test_a_component_that_fails_at_the_end_takes_nothing_away(method: str, said: str, tmp_path: Path) -> None:
    done = run_idea(tmp_path, idea(f"{method}\n    raise OSError('too late')"), "steps=2")
    assert done.returncode == 1
    assert f"all 2 steps are done and saved, but {said} (my_idea.py:" in done.stderr
    directory = only_run(tmp_path)
    ended = last_exit(directory)
    assert (ended["state"], said in ended["error"]) == ("finished", True)
    assert read_run(directory).state == "finished"
    assert said in dapoctl(tmp_path, "runs", "show", "last").stdout
    assert (directory / "checkpoints" / "latest").read_text().strip() == "step_2"


STATES = {
    "a thread": ("{'lock': __import__('threading').Lock()}", "`state_dict()['lock']` is _thread's"),
    "NumPy": ("{'mean': [__import__('numpy').float64(1)]}", "`state_dict()['mean'][0]` is numpy's float64"),
    "no dict": ("[1, 2]", "`state_dict` returned list; it must return a dict"),
    "raises": ("{}['mean']", "`state_dict` raised KeyError: 'mean' (my_idea.py:"),
    "gradient": ("{'ema': torch.ones(2, requires_grad=True) * 2}", "call `.detach()`"),
}  # fmt: skip


@pytest.mark.parametrize("case", STATES)
def test_state_that_cannot_be_saved_is_noticed_before_the_first_step(case: str, tmp_path: Path) -> None:
    state, said = STATES[case]
    source = idea(f"@hookimpl\ndef on_run_start(self): ...\ndef state_dict(self):\n    return {state}")
    done = run_idea(tmp_path, source, "steps=2")
    assert done.returncode == 1
    assert "component `idea`" in done.stderr
    assert said in done.stderr
    assert last_exit(only_run(tmp_path))["state"] == "failed"


def test_state_that_cannot_be_taken_back(tmp_path: Path) -> None:
    source = idea(
        """
        @hookimpl
        def on_step_end(self, step):
            if step == 1:
                raise ValueError("first")
        def state_dict(self):
            return {"mean": 1.0}
        def load_state_dict(self, state):
            self._mean = state["median"]
        """
    )
    assert run_idea(tmp_path, source, "steps=2").returncode == 1
    resumed = dapoctl(tmp_path, "runs", "resume", "last")
    assert resumed.returncode == 1
    assert "component `idea`, `load_state_dict` raised KeyError: 'median' (my_idea.py:" in resumed.stderr
    assert "Traceback" not in resumed.stderr
    assert (only_run(tmp_path) / "checkpoints" / "latest").read_text().strip() == "step_1"


def test_a_failure_is_not_hidden_by_a_second_one_at_the_end(tmp_path: Path) -> None:
    source = shaper("raise ValueError('first')") + "\n    def close(self):\n        raise OSError('second')\n"
    done = run_idea(tmp_path, source, "steps=2")
    assert done.returncode == 1
    assert "raised ValueError: first" in done.stderr
    directory = only_run(tmp_path)
    assert "first" in last_exit(directory)["error"]
    assert any("`close` raised OSError: second" in row["message"] for row in events(directory, "warning"))


def test_state_in_json(tmp_path: Path) -> None:
    done = run_idea(tmp_path, shaper("raise ValueError('odd')"), "steps=1")
    assert done.returncode == 1
    shown = json.loads(dapoctl(tmp_path, "runs", "show", "last", "--json").stdout)
    assert shown["state"] == "failed"
    assert "component `idea`, hook `shape_rewards` raised ValueError: odd" in shown["why"]
