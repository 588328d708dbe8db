"""What a run reads is looked at before there is a run, however it is started; and fields of a file have one name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dapoctl.config.resolve import load
from dapoctl.evaluation.inputs import check_inputs
from dapoctl.evaluation.run_sets import run_source
from dapoctl.runs.files import read_json
from tests.support.cli import Cli
from tests.support.processes import modules_after

GOOD = '{"problem": "1+1=", "answer": "2"}\n{"problem": "2+2=", "answer": "4"}\n'
OTHER = '{"question": "1+1=", "final": "2"}\n{"question": "2+2=", "final": "4"}\n'


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def no_weights(folder: Path) -> None:
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text("{}")


def nothing(_folder: Path) -> None:
    """There is nothing to prepare."""


MISTAKES: dict[str, tuple[Callable[[Path], object], list[str], list[str]]] = {
    "no data": (nothing, ["task=math"], ["math.data is not set", "--set math.data=FILE.jsonl"]),
    "no such file": (
        nothing,
        ["task=math", "math.data=nofile.jsonl"],
        ["`math.data` = 'nofile.jsonl'", "no such file", "give a path"],
    ),
    "other fields": (
        lambda folder: write(folder / "d.jsonl", OTHER),
        ["task=math", "math.data=d.jsonl"],
        ["`math.data` = 'd.jsonl'", "no field `problem`", "question, final", "Set math.problem_field"],
    ),
    "held out": (
        lambda folder: write(folder / "d.jsonl", GOOD),
        ["task=math", "math.data=d.jsonl", "math.test_data=t.jsonl"],
        ["`math.test_data` = 't.jsonl'", "no such file"],
    ),
    "an evaluation set": (nothing, ["eval.set=['x.jsonl']"], ["set `x`", "'x.jsonl'", "no such file"]),
    "an unknown set": (nothing, ["eval.set=['aime224']"], ["unknown set `aime224`", "aime24"]),
    "no model": (nothing, ["model=./models/none"], ["`model.path` = './models/none'", "no such folder", "hub name"]),
    "an empty folder": (
        lambda folder: (folder / "m").mkdir(),
        ["model=./m"],
        ["`model.path` = './m'", "no config.json"],
    ),
    "a hub's model without a network": (
        nothing,
        ["model=owner/none"],
        ["`model.path` = 'owner/none'", "not in the local cache", "HF_HUB_OFFLINE is set", "hf download owner/none"],
    ),
    "no weights": (no_weights, ["model=./m"], ["`model.path` = './m'", "no weights", "safetensors"]),
}
COMMANDS = {
    "run": ["run"],
    "detach": ["run", "--detach"],
    "queue": ["run", "--queue"],
    "sweep": ["sweep", "--axis", "seed=1,2"],
}


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        *(("run", mistake) for mistake in MISTAKES),
        *(
            (command, mistake)
            for command in ("detach", "queue", "sweep")
            for mistake in ("no such file", "a hub's model without a network")
        ),
    ],
)
def test_a_run_without_its_data_is_not_made(cli: Cli, tmp_path: Path, command: str, mistake: str) -> None:
    prepare, settings, words = MISTAKES[mistake]
    prepare(tmp_path)
    done = cli(*COMMANDS[command], *(part for text in settings for part in ("--set", text)))
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said
    assert "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_doctor_finds_it_too(cli: Cli) -> None:
    done = cli("doctor", "--set", "task=math", "--set", "math.data=nofile.jsonl", "--json")
    assert done.returncode == 1
    (found,) = [check for check in json.loads(done.stdout)["run"] if check["name"] == "data"]
    assert found["status"] == "fail"
    assert "`math.data` = 'nofile.jsonl'" in found["text"]


def test_the_launch_form_is_not_ready() -> None:
    from dapoctl.tui.launch.form.choice import Choice
    from dapoctl.tui.launch.form.verdict import examine
    from dapoctl.tui.launch.launch_text import verdict_text

    choice = Choice("grpo", [], {"task": "math"})
    verdict = examine(choice)
    assert verdict.problems == ("math.data is not set; give a file or a set, such as --set math.data=FILE.jsonl",)
    assert "✓ ready" not in verdict_text(verdict, [], False).plain


def test_what_can_be_printed_needs_no_data(cli: Cli) -> None:
    assert cli("run", "--dry-run", "--set", "task=math", "--set", "math.data=nofile.jsonl").returncode == 0


@pytest.mark.process
def test_looking_is_cheap(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", GOOD)
    code = (
        "from dapoctl.config.resolve import load; from dapoctl.evaluation.inputs import check_inputs;"
        f" r = load([], ['task=math', 'math.data={path}', \"eval.set=['{path}', 'aime24']\"]);"
        " check_inputs(r.config, r.pipeline)"
    )
    assert not {"torch", "transformers", "datasets"} & modules_after(code, tmp_path)


def test_first_rows_only(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", GOOD * 100 + "{broken")
    resolved = load([], ["task=math", f"math.data={path}"])
    check_inputs(resolved.config, resolved.pipeline)


# The fields of a file


def test_a_runs_fields_hold_for_its_evaluation_files(tmp_path: Path) -> None:
    other, usual = write(tmp_path / "other.jsonl", OTHER), write(tmp_path / "usual.jsonl", GOOD)
    fields = ["math.problem_field=question", "math.answer_field=final"]
    resolved = load([], ["task=math", f"math.data={other}", *fields, f"eval.set=['{other}', '{usual}']"])
    check_inputs(resolved.config, resolved.pipeline)
    for path in (other, usual):
        problems = run_source(str(path), resolved.config, resolved.pipeline).load()
        assert [problem.answer for problem in problems] == ["2", "4"]


def test_fields_of_an_evaluation_are_options(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "d.jsonl", OTHER)
    asked = ("eval", "tiny", "--data", "d.jsonl", "-k", "1", "--max-tokens", "8", "--instruction", "{problem}")
    refused = cli(*asked)
    assert refused.returncode == 2
    assert "no field `problem`; the fields are: question, final. Set --problem-field to the right one" in refused.stderr
    half = cli(*asked, "--problem-field", "question")
    assert "no field `answer`" in half.stderr
    assert "Set --answer-field" in half.stderr
    fields = ("--problem-field", "question", "--answer-field", "final")
    done = cli(*asked, *fields, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["problems"] == 2
    lost = cli("eval", "tiny", "--task", "arithmetic", "--problem-field", "question")
    assert (lost.returncode, "it needs --data FILE" in lost.stderr) == (2, True)


def test_the_options_of_an_evaluation_say_its_fields() -> None:
    from dapoctl.cli.evaluate import options_of
    from dapoctl.evaluation.plan import Request

    options = options_of(Request("run", data="d.jsonl", fields={"problem_field": "question", "answer_field": ""}))
    assert options[2:] == ["--problem-field", "question"]


# What is recorded


def test_the_record_has_hashes_of_data_and_model(cli: Cli, tmp_path: Path) -> None:
    import hashlib

    path = write(tmp_path / "d.jsonl", GOOD)
    settings = ("task=math", "math.data=d.jsonl", "math.test_fraction=0", "steps=1", "eval.every=0", "rollout.prompts=1",
                "rollout.samples=2", "rollout.max_prompt_tokens=64", "rollout.max_response_tokens=8",
                'math.instruction={problem}', "math.workers=1")  # fmt: skip
    done = cli("run", *(part for text in settings for part in ("--set", text)), "--json")
    assert done.returncode == 0, done.stderr
    directory = tmp_path / json.loads(done.stdout)["directory"]
    inputs: dict[str, Any] = read_json(directory / "spec.json")["inputs"]
    expected = {"bytes": len(GOOD), "sha256": hashlib.sha256(GOOD.encode()).hexdigest()}
    assert inputs["data"] == {str(path): expected}
    files = inputs["model"]["files"]
    weights = Path(__import__("dapoctl").__file__).parent / "models" / "tiny" / "model.safetensors"
    assert files["model.safetensors"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "config.json" in files
    found = cli(
        "eval", "tiny", "--data", "d.jsonl", "-k", "1", "--max-tokens", "8", "--instruction", "{problem}", "--json"
    )
    assert json.loads(found.stdout)["data"]["files"] == {str(path): expected}
    # Once more on other data than it began with: on record, and said.
    from dapoctl.config.resolve import load
    from dapoctl.runs.jobs.create import create
    from dapoctl.training.attempt import resume

    again = create(load([], [*settings[:1], f"math.data={path}", *settings[2:]]), tmp_path / "runs", ["test"])
    path.write_text(GOOD.replace("2+2=", "2+2 ="))
    result = resume(again)
    assert any(
        str(path) in warning and "is not what it was when the run began" in warning for warning in result.warnings
    )
    events = [json.loads(line) for line in (again / "events.jsonl").read_text().splitlines()]
    (event,) = [event for event in events if event.get("event") == "input_changed"]
    assert (event["what"], event["from"]) == (str(path), expected["sha256"])
    evaluation = json.loads(found.stdout)["run"]
    assert read_json(tmp_path / "runs" / evaluation / "spec.json")["inputs"]["model"]["files"] == files
