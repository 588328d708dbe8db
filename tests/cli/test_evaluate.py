"""`dapoctl eval`: what it stores, how it goes on after a kill, what it refuses.

Slow: those in which processes are killed, or stand in each other's way.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dapoctl.evaluation.evaluate import BLOCK, problem_seed
from dapoctl.evaluation.plan import Request, plan
from dapoctl.evaluation.summary import differences
from dapoctl.evaluation.writer import EvaluationWriter, stored_rows
from dapoctl.runs.files import read_json, read_lines
from dapoctl.runs.index import list_runs
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import read_run
from tests.support.cli import Done, on_store

PLACE = "*/evals/arithmetic/step_0"
TINY = ("eval", "tiny", "--task", "arithmetic")
FIELDS = {"problem", "sample", "prompt", "answer", "response", "tokens", "truncated", "outcome", "extracted", "correct"}


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "dapoctl", *arguments, "--runs-dir", str(root)]


def call(root: Path, *arguments: str, code: int = 0) -> Done:
    return on_store(*arguments, root=root, code=code)


def ask(root: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(root, *arguments, "--json").stdout)
    return found


def samples(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows by problem and sample; none is there twice."""
    rows = [row for row in read_lines(folder / "samples.jsonl") if "schema" not in row]
    found = {(row["problem"], row["sample"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not what():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An evaluation of the embedded model in several blocks, in a store of its own."""
    root = tmp_path_factory.mktemp("undisturbed")
    assert BLOCK["cpu"] < 4 * 96 / 4
    return ask(root, *TINY, "-k", "4", "--limit", "96", "--temperature", "1.3", "--top-p", "1.0") | {"root": str(root)}


ASKED = (*TINY, "-k", "4", "--limit", "96", "--temperature", "1.3", "--top-p", "1.0")


def test_the_folder_tells_what_was_asked_and_what_came_out(undisturbed: dict[str, Any]) -> None:
    root, folder = Path(undisturbed["root"]), Path(undisturbed["directory"])
    run = find_run(root, undisturbed["run"])
    assert folder == run / "evals" / "arithmetic" / "step_0"
    summary = read_json(folder / "summary.json")
    assert summary["schema"] == 1
    assert summary["complete"] is True
    assert (summary["set"], summary["step"], summary["model"]) == ("arithmetic", 0, "tiny")
    assert summary["protocol"] == {
        "name": "dapo", "temperature": 1.3, "top_p": 1.0, "k": 4, "max_tokens": 80, "seed": 0, "scorer": "arithmetic",
        "instruction": "", "template": "auto", "engine": "hf",
    }  # fmt: skip
    rows = samples(folder)
    assert len(rows) == 96 * 4
    assert all({*row} == FIELDS for row in rows.values())
    assert summary["data"]["problems"] == 96
    assert {*summary["data"]["ids"]} == {problem for problem, _ in rows}
    assert summary["generated_tokens"] == sum(row["tokens"] for row in rows.values())
    assert summary["seconds"] > 0
    assert summary["devices"] == ["cpu"]
    correct = sum(row["correct"] for row in rows.values())
    assert summary["metrics"]["eval/arithmetic/avg@4"] == pytest.approx(correct / len(rows))
    assert 0.1 < correct / len(rows) < 0.9
    spec = read_json(run / "spec.json")
    assert (spec["kind"], spec["config"]["steps"], spec["config"]["model"]["path"]) == ("eval", 0, "tiny")
    assert read_run(run).state == "finished"
    assert next(iter(read_lines(folder / "samples.jsonl"))) == {
        "schema": 1,
        "kind": "eval",
        "set": "arithmetic",
        "step": 0,
    }


def test_the_same_command_again_shows_what_is_stored(undisturbed: dict[str, Any]) -> None:
    root, folder = Path(undisturbed["root"]), Path(undisturbed["directory"])
    before = (folder / "samples.jsonl").stat().st_mtime_ns
    found = ask(root, *ASKED)
    assert "stored already" in found["note"]
    assert (found["run"], found["metrics"]) == (undisturbed["run"], undisturbed["metrics"])
    assert (folder / "samples.jsonl").stat().st_mtime_ns == before
    assert "--again" in call(root, *ASKED).stdout


@pytest.mark.process
def test_what_is_stored_needs_no_torch(undisturbed: dict[str, Any]) -> None:
    arguments = ["dapoctl", *ASKED, "--runs-dir", undisturbed["root"]]
    code = f"import sys; sys.argv = {arguments!r}\nfrom dapoctl.cli import main\nassert main() == 0\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print({{'torch', 'transformers', 'vllm'}} & {{*sys.modules}}, file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr.strip().endswith("set()")


@pytest.mark.process
@pytest.mark.slow
def test_killed_again_and_again_it_holds_the_same_samples(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    expected, seen, kept = samples(Path(undisturbed["directory"])), 0, {}
    for _ in range(3):
        process = subprocess.Popen(command(tmp_path, *ASKED), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        wait_for(lambda count=seen: any(len(stored_rows(path)) > count for path in tmp_path.glob(PLACE)), process)
        process.kill()
        process.communicate()
        (run,) = [path for path in tmp_path.iterdir() if path.is_dir()]
        (folder,) = tmp_path.glob(PLACE)
        assert read_json(folder / "summary.json")["complete"] is False
        assert read_run(run).state == "lost"
        rows = {(row["problem"], row["sample"]): row for row in stored_rows(folder)}
        assert kept.items() <= rows.items()
        seen, kept = len(rows), rows
    found = ask(tmp_path, *ASKED)
    assert "were stored before" in found["note"]
    assert samples(folder) == expected
    unlike = {"seconds", "run", "directory", "note", "root"}
    assert {k: v for k, v in found.items() if k not in unlike} == {
        k: v for k, v in undisturbed.items() if k not in unlike
    }
    assert read_run(run).state == "finished"


@pytest.mark.process
@pytest.mark.slow
def test_ctrl_c_keeps_finished_blocks_and_says_how_to_go_on(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path, *ASKED), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(len(stored_rows(path)) for path in tmp_path.glob(PLACE)), process)
    process.send_signal(signal.SIGINT)
    output, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert output == ""
    assert "Traceback" not in words
    assert "to continue: dapoctl eval tiny --task arithmetic" in words
    (run,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert read_run(run).state == "stopped"
    ask(tmp_path, *ASKED)
    assert samples(run / "evals" / "arithmetic" / "step_0") == samples(Path(undisturbed["directory"]))


@pytest.mark.slow
def test_torn_and_foreign_rows_are_made_good(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """A problem without all of its responses is sampled again; with seeds of its own it gets the same ones.

    Slow: samples a whole set, and half of it again.
    """
    found = ask(tmp_path, *ASKED)
    folder = Path(found["directory"])
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    kept = [lines[0], *lines[1:50], "not json\n", '{"problem": 7}\n', lines[1], lines[120], lines[121], lines[122][:40]]
    (folder / "samples.jsonl").write_text("".join(kept))
    (folder / "summary.json").write_text(json.dumps(read_json(folder / "summary.json") | {"complete": False}))
    ask(tmp_path, *ASKED)
    assert samples(folder) == samples(Path(undisturbed["directory"]))


def test_a_problems_responses_do_not_depend_on_the_others(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    few = ask(tmp_path, *TINY, "-k", "4", "--limit", "5", "--temperature", "1.3", "--top-p", "1.0")
    rows = samples(Path(few["directory"]))
    assert len(rows) == 20
    assert rows.items() <= samples(Path(undisturbed["directory"])).items()
    assert len({problem_seed(0, str(number)) for number in range(1000)}) == 1000


def test_other_settings_are_named(undisturbed: dict[str, Any]) -> None:
    root = Path(undisturbed["root"])
    # Complete: another evaluation of the same model gets a folder of its own.
    other = ask(root, *TINY, "-k", "2", "--limit", "4")
    assert other["run"] != undisturbed["run"]
    assert ask(root, *ASKED)["run"] == undisturbed["run"]
    # Incomplete: going on with it is what was meant, or not.
    folder = Path(other["directory"])
    (folder / "summary.json").write_text(json.dumps(read_json(folder / "summary.json") | {"complete": False}))
    words = call(root, *TINY, "-k", "3", "--limit", "5", "--seed", "9", code=2).stderr
    for part in (
        "incomplete",
        "k: 2 stored, 3 requested",
        "seed: 0 stored, 9",
        "problems: 4 stored, 5",
        "--again",
        "--as",
    ):
        assert part in " ".join(words.split())
    replaced = ask(root, *TINY, "-k", "3", "--limit", "5", "--seed", "9", "--again")
    assert replaced["run"] == other["run"]
    assert len(samples(folder)) == 15


def test_again_samples_anew(tmp_path: Path) -> None:
    first = ask(tmp_path, *TINY, "-k", "2", "--limit", "4")
    stamp = (Path(first["directory"]) / "samples.jsonl").stat().st_ino
    second = ask(tmp_path, *TINY, "-k", "2", "--limit", "4", "--again")
    assert (second["run"], second["metrics"]) == (first["run"], first["metrics"])
    assert (Path(first["directory"]) / "samples.jsonl").stat().st_ino != stamp


RUN = ("steps=2", "rollout.prompts=2", "rollout.samples=2", "rollout.max_response_tokens=24", "eval.limit=6",
       "eval.k=2", "checkpoint.every=1", "checkpoint.keep=5")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with its own evaluations."""
    root = tmp_path_factory.mktemp("run")
    call(root, "run", *(part for setting in RUN for part in ("--set", setting)))
    return find_run(root, "last")


def test_evaluations_inside_a_run_say_what_was_asked(run: Path) -> None:
    steps = sorted((run / "evals" / "arithmetic").iterdir())
    assert [path.name for path in steps] == ["step_0", "step_2"]
    for path in steps:
        summary, rows = read_json(path / "summary.json"), samples(path)
        assert summary["complete"] is True
        assert summary["step"] == int(path.name[5:])
        assert summary["protocol"] | {"seed": 0} == {
            "name": "training", "temperature": 1.0, "top_p": 1.0, "k": 2, "max_tokens": 24, "seed": 0,
            "scorer": "arithmetic", "instruction": "", "template": "auto", "engine": "hf",
        }  # fmt: skip
        assert {key: summary["data"][key] for key in ("source", "split", "problems")} == {
            "source": "arithmetic",
            "split": "test",
            "problems": 6,
        }
        assert len(summary["data"]["sha256"]) == 64
        assert {*summary["data"]["ids"]} == {problem for problem, _ in rows}
        assert (len(rows), summary["model"], summary["devices"]) == (12, "tiny", ["cpu"])
        assert summary["generated_tokens"] == sum(row["tokens"] for row in rows.values())
        assert summary["seconds"] > 0
        right = sum(row["correct"] for row in rows.values())
        assert summary["metrics"]["eval/arithmetic/avg@2"] == pytest.approx(right / 12)


def test_a_run_is_evaluated_at_its_latest_checkpoint_or_another(run: Path) -> None:
    root = run.parent
    asked = ("--task", "arithmetic", "-k", "1", "--limit", "4", "--as", "sums")
    latest = ask(root, "eval", run.name, *asked)
    assert (latest["run"], latest["step"], latest["weights"]) == (run.name, 2, "step_2")
    assert Path(latest["directory"]) == run / "evals" / "sums" / "step_2"
    assert "eval/sums/avg@1" in latest["metrics"]
    assert latest["protocol"]["max_tokens"] == 24
    assert ask(root, "eval", "last", *asked, "--step", "1")["step"] == 1
    before = ask(root, "eval", "last", *asked, "--step", "0")
    base = ask(root, "eval", "tiny", *asked, "--max-tokens", "24")
    assert samples(Path(before["directory"])) == samples(Path(base["directory"]))
    words = call(root, "eval", run.name, *asked, "--step", "7", code=2).stderr
    assert "checkpoints of the steps 1, 2" in words
    words = call(root, "eval", run.name, "--task", "arithmetic", code=2).stderr
    assert "k: 2 stored, 32 requested" in " ".join(words.split())
    listed = {summary.id: summary for summary in list_runs(root)}
    assert "eval/sums/avg@1" in listed[run.name].metrics


def test_a_task_is_evaluated_with_other_parameters(run: Path) -> None:
    root = run.parent
    asked = ("eval", run.name, "--task", "arithmetic", "-k", "1", "--limit", "4", "--as", "long")
    found = ask(root, *asked, "--set", "arithmetic.min_digits=5", "--set", "arithmetic.max_digits=5")
    rows = samples(Path(found["directory"])).values()
    assert {len(number) for row in rows for number in row["prompt"][:-1].split("+")} == {5}
    assert found["data"]["parameters"]["arithmetic"]["max_digits"] == 5
    # Another rule for the same problems is another evaluation, too.
    digits = ("--set", "arithmetic.min_digits=5", "--set", "arithmetic.max_digits=5")
    words = call(root, *asked, *digits, "--set", "arithmetic.marker=", code=2).stderr
    assert "arithmetic.marker: '#' stored, '' requested" in " ".join(words.split())
    base = ask(
        root, "eval", "tiny", "--task", "arithmetic", "-k", "1", "--limit", "4", "--set", "arithmetic.operands=3"
    )
    assert {row["prompt"].count("+") for row in samples(Path(base["directory"])).values()} == {2}


def test_adapters_are_evaluated_with_their_run(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    settings = (*RUN, "lora.rank=2", "optim.lr=0.05", "optim.warmup_steps=0", "rollout.samples=16", "eval.every=0")
    call(tmp_path, "run", *(part for setting in settings for part in ("--set", setting)))
    found = [ask(tmp_path, "eval", "last", *TINY[2:], "-k", "2", "--limit", "4", "--step", step) for step in "02"]
    base = ask(tmp_path, *TINY, "-k", "2", "--limit", "4", "--max-tokens", "24")
    texts = [[row["response"] for row in samples(Path(each["directory"])).values()] for each in (base, *found)]
    assert texts[0] == texts[1]
    assert texts[1] != texts[2]


def test_evaluations_by_the_command_do_not_decide_which_checkpoint_is_best(run: Path) -> None:
    from dapoctl.training.checkpoint import held_out

    before = held_out(run, 2)
    folder = run / "evals" / "other" / "step_2"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"made": "eval", "metrics": {"eval/other/avg@1": -5.0}}))
    assert held_out(run, 2) == before
    own = read_json(run / "evals" / "arithmetic" / "step_2" / "summary.json")["metrics"]["eval/arithmetic/avg@2"]
    assert before == own


def test_an_evaluation_is_no_run_to_resume(tmp_path: Path) -> None:
    found = ask(tmp_path, *TINY, "-k", "1", "--limit", "2")
    assert "dapoctl eval" in call(tmp_path, "runs", "resume", found["run"], code=2).stderr
    assert ask(tmp_path, "eval", found["run"], "--task", "arithmetic", "-k", "1", "--limit", "2")["run"] == found["run"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny"], ["which set?", "--task", "aime24"]),
        (["tiny", "--task", "aime224"], ["unknown set `aime224`", "Did you mean `aime24`"]),
        (["tinny", "--task", "arithmetic"], ["no run `tinny`", "owner/name"]),
        (["tiny", "--task", "arithmetic", "--protocol", "gredy"], ["--protocol gredy", "greedy"]),
        (["tiny", "--task", "arithmetic", "--scorer", "strict"], ["--scorer", "arithmetic", "its own"]),
        (["tiny", "--task", "arithmetic", "--step", "3"], ["--step 3", "is a model"]),
        (["tiny", "--task", "arithmetic", "--engine", "vlm"], ["`vlm`", "vllm"]),
        (["tiny", "--task", "arithmetic", "--set", "optim.lr=1"], ["optim.lr=1", "model, train, hf, arithmetic"]),
        (
            ["tiny", "--task", "math500", "--set", "arithmetic.operands=3"],
            ["arithmetic.operands=3", "model, train, hf,"],
        ),
        (
            ["tiny", "--task", "arithmetic", "--set", "arithmetic.digits=3"],
            ["unknown key `arithmetic.digits`", "max_digits"],
        ),
        (["tiny", "--data", "d", "--set", "math.problem_field=q"], ["math.problem_field=q", "option --problem-field"]),
        (["tiny", "--task", "arithmetic", "--set", "model.path=x"], ["model.path=x", "argument"]),
        (["tiny", "--task", "x", "--data", "none.jsonl"], ["no such file: none.jsonl"]),
        (["tiny", "--task", "a/b", "--data", "none.jsonl"], ["'a/b'", "letters"]),
        (["tiny", "--task", "arithmetic", "-k", "0"], ["-k 0"]),
        (["tiny", "--task", "arithmetic", "--limit", "0"], ["--limit"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, arguments: Sequence[str], words: Sequence[str]) -> None:
    said = " ".join(call(tmp_path, "eval", *arguments, code=2).stderr.split())
    for word in words:
        assert word in said
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.process
def test_two_at_once_do_not_write_one_file(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path, *ASKED), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: [*tmp_path.glob(f"{PLACE}/samples.jsonl")], process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert "by another process" in call(tmp_path, *ASKED, code=2).stderr
    finally:
        os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=240)
    assert process.returncode == 0
    (folder,) = tmp_path.glob(PLACE)
    assert samples(folder) == samples(Path(undisturbed["directory"]))


def test_problems_without_room_are_unanswered(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = [
        {"id": "short", "problem": "12+34=", "answer": "46"},
        {"id": "long", "problem": "1+" * 400, "answer": "400"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("eval", "tiny", "--data", str(path), "-k", "2", "--instruction", "{problem}", "--max-tokens", "20")
    done = call(tmp_path, *asked, "--json")
    assert "1 of 2 problems do not fit" in " ".join(done.stderr.split())
    found = json.loads(done.stdout)
    rows_ = samples(Path(found["directory"]))
    assert found["set"] == "problems"
    for sample in range(2):
        row = rows_["long", sample]
        assert (row["response"], row["tokens"], row["truncated"], row["outcome"]) == ("", 0, True, "unanswered")
        assert rows_["short", sample]["tokens"] > 0


def test_where_no_prompt_fits_nothing_is_measured(tmp_path: Path) -> None:
    """An error with the fix, not 0.0% of problems that nobody was asked."""
    done = call(tmp_path, *TINY, "-k", "1", "--limit", "2", "--max-tokens", "255", code=2)
    words = " ".join(done.stderr.split())
    assert (
        "nothing can be asked, for the model `tiny` has 256 positions, and the shortest prompt of `arithmetic` takes 8"
        in words
    )
    assert "give at most --max-tokens 248" in words
    (folder,) = tmp_path.glob(PLACE)
    assert read_json(folder / "summary.json")["complete"] is False


def test_the_template_that_auto_came_to_is_stored_and_questions_that_are_there_twice_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text(2 * (json.dumps({"problem": "12+34=", "answer": "46"}) + "\n"))
    asked = ("eval", "tiny", "--data", str(path), "-k", "1", "--max-tokens", "8", "--instruction", "{problem}")
    done = call(tmp_path, *asked, "--json")
    found = json.loads(done.stdout)
    assert found["protocol"]["template"] == "auto"
    assert found["template"] == "chat"
    assert "sums.jsonl: 1 of 2 problems ask what an earlier one asks" in " ".join(done.stderr.split())
    (tmp_path / "sums.jsonl").touch()
    again = json.loads(call(tmp_path, *asked, "--json").stdout)
    assert (again["template"], again["note"]) == ("chat", "stored already; --again samples anew")


def test_differences_of_what_is_stored(tmp_path: Path) -> None:
    job = plan(Request("tiny", "arithmetic", changes={"k": 1}, limit=3), tmp_path, ["test"])
    assert differences(job.wanted, job.wanted) == []
    protocol = job.wanted["protocol"]
    renamed = job.wanted | {"protocol": protocol | {"name": "other"}}
    assert differences(renamed, job.wanted) == []
    # Written by code that did not say what was asked.
    old = {"step": 0, "metrics": {}, "seed": 1}
    assert "k: 'unknown' stored, 1 requested" in differences(old, job.wanted)
    changed = job.wanted | {"data": job.wanted["data"] | {"sha256": "0" * 64}}
    assert differences(changed, job.wanted) == ["the problems themselves have changed"]


def test_a_writer_counts_only_what_was_asked_for(tmp_path: Path) -> None:
    job = plan(Request("tiny", "arithmetic", changes={"k": 2}, limit=3), tmp_path, ["test"])
    first, second, _ = job.wanted["data"]["ids"]
    row = dict.fromkeys(FIELDS, 0) | {"problem": first}
    writer = EvaluationWriter(job.folder, job.wanted)
    writer.add([row | {"sample": 0}, row | {"sample": 1}, row | {"sample": 1}], 1.5, "cpu")
    writer.add([row | {"problem": second, "sample": 0}], 0.5, "cpu")
    writer.add([row | {"problem": "stranger", "sample": sample} for sample in range(2)], 0.5, "cpu")
    writer.close()
    again = EvaluationWriter(job.folder, job.wanted)
    again.close()
    assert again.done == {first}
    assert [(row["problem"], row["sample"]) for row in stored_rows(job.folder)] == [(first, 0), (first, 1)]
    assert read_json(job.folder / "summary.json")["seconds"] == 2.5


def test_an_evaluation_that_failed_is_in_nobodys_way(tmp_path: Path) -> None:
    """The model is too short for the first: its message names the option, and asked again it goes through."""
    path = tmp_path / "problems.jsonl"
    path.write_text('{"problem": "12+34=", "answer": "46"}\n')
    asked = ("eval", "tiny", "--data", str(path), "-k", "1", "--instruction", "{problem}")
    failed = call(tmp_path, *asked, "--max-tokens", "5000", code=2).stderr
    said = " ".join(failed.split())
    assert "--max-tokens 5000" in said
    assert "rollout." not in said
    most = int(said.partition("give at most --max-tokens ")[2].split()[0])
    call(tmp_path, *asked, "--max-tokens", str(most + 1), code=2)
    found = ask(tmp_path, *asked, "--max-tokens", str(min(most, 20)), "--seed", "1")
    assert found["complete"] is True
    assert len(samples(Path(found["directory"]))) == 1


def test_repeated_problems_are_told(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text('{"problem": "1+1=", "answer": "2"}\n{"problem": "1+1=", "answer": "3"}\n')
    asked = ("eval", "tiny", "--data", str(path), "-k", "1", "--instruction", "{problem}", "--max-tokens", "4")
    done = call(tmp_path, *asked)
    assert "warning:" in done.stderr
    assert "1 of 2 problems ask what an earlier one asks, some of them with another answer" in " ".join(
        done.stderr.split()
    )
