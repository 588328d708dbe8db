"""Two runs that the trainer made are evaluated from the screens, compared, and one problem is read; and who does that work.

Slow: evaluations go on in the background, and each of the processes imports torch and transformers.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from dapoctl.errors import UserError
from dapoctl.evaluation.background import ALIVE, EVALS, RECORD, background, start, stop
from dapoctl.evaluation.stored import load_evaluation
from dapoctl.runs.files import read_json
from dapoctl.runs.processes import Identity
from dapoctl.runs.summary import read_run
from dapoctl.tui.actions.evaluations import label_of, options_like
from tests.support.background import SHORT, Store, plant_traps, wait_for
from tests.support.compare_screens import (
    bench_of,
    compared,
    play,
    screen_of,
    settled,
    shown,
    text,
    transcripts,
    until,
)

pytestmark = pytest.mark.process

SET = "held8"
ASKED = f"--task arithmetic -k 3 --limit 8 --as {SET} --max-tokens 24"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two runs of three steps, one with other components."""
    made = Store(tmp_path_factory.mktemp("story"))
    made.run(settings=SHORT)
    made.run("--plugins", "clip_higher", settings=(*SHORT, "seed=1"))
    return made


@pytest.mark.slow
def test_evaluate_both_compare_and_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)

    async def ask(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(bench_of(pilot).session.snapshot.runs) == 2)
        await pilot.press("space", "space", "e")
        await until(pilot, lambda: "Evaluate 2" in text(pilot))
        assert "--task arithmetic -k 8 --as arithmetic-k8" in text(pilot)
        await pilot.press("ctrl+u", *ASKED, "enter")
        await until(pilot, lambda: all(background(run.directory) for run in bench_of(pilot).session.snapshot.runs))

    # Whoever started it has left; it goes on.
    play(store.root, (80, 24), ask)
    folders = [store.root / name for name in store.ids()]
    wait_for(lambda: not any(background(folder).alive for folder in folders))  # type: ignore[union-attr]
    assert [background(folder).state for folder in folders] == ["finished"] * 2  # type: ignore[union-attr]

    # The newest stands first on the screen.
    said = store.json("compare", *reversed(store.ids()), "--task", SET)

    async def look(pilot: Pilot[None]) -> None:
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: screen_of(pilot).found is not None)
        await settled(pilot)
        names = [side.run for side in screen_of(pilot).found.sides]  # type: ignore[union-attr]
        assert names == [run["run"] for run in said["runs"]]
        for run in said["runs"]:
            avg = run["metrics"]["avg@3"]
            assert f"{100 * avg['value']:.1f}% [{100 * avg['low']:.1f}, {100 * avg['high']:.1f}]" in text(pilot)
        assert [line.problem for line in screen_of(pilot).lines] == [each["id"] for each in said["problems"]]
        await pilot.press("enter")
        opened = await transcripts(pilot)
        assert opened.problem_id == said["problems"][0]["id"]
        assert f"{opened.problem_id}=" in "\n".join(shown(pilot))

    play(store.root, (80, 24), look)


@pytest.mark.slow
def test_the_next_run_is_asked_alike(store: Store) -> None:
    folder = store.root / store.ids()[0]
    start([(folder, None)], ASKED.split())
    wait_for(lambda: not background(folder).alive)  # type: ignore[union-attr]
    evaluation = load_evaluation(read_run(folder), SET)
    options = options_like(evaluation)
    assert label_of(options) == SET
    again = json.loads(store.call("eval", folder.name, *options, "--json").stdout)
    assert "stored already" in again["note"]


@pytest.mark.slow
def test_one_that_is_stopped_goes_on(store: Store) -> None:
    first, second = (store.root / name for name in store.ids())
    options = ["--task", "arithmetic", "-k", "64", "--limit", "200", "--as", "long", "--max-tokens", "24"]
    start([(first, None), (second, None)], options)
    wait_for(lambda: "sample" in background(first).words)  # type: ignore[union-attr]
    assert background(second).state == "waiting"  # type: ignore[union-attr]
    with pytest.raises(UserError, match="already being evaluated"):
        start([(second, None)], options)

    async def story(pilot: Pilot[None]) -> None:
        await compared(pilot, [first.name, second.name], "long")
        await until(pilot, lambda: "waiting: waits for the one before it" in text(pilot))
        await pilot.press("x")
        await until(pilot, lambda: "Stop evaluating" in text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: not any(background(each).alive for each in (first, second)))  # type: ignore[union-attr]

    play(store.root, (80, 24), story)
    assert [background(each).state for each in (first, second)] == ["stopped", "stopped"]  # type: ignore[union-attr]
    assert not stop(first)
    summary = read_json(first / EVALS / "long" / "step_3" / "summary.json")
    assert summary["complete"] is False


@pytest.mark.slow
def test_a_stop_for_each_of_several_runs_is_one_stop(store: Store) -> None:
    folder = store.root / store.ids()[0]
    start(
        [(folder, None)],
        ["--task", "arithmetic", "-k", "64", "--max-tokens", "24", "--as", "asked_often"],
    )
    wait_for(lambda: "sample" in background(folder).words)  # type: ignore[union-attr]
    while stop(folder):
        time.sleep(0.01)
    wait_for(lambda: not background(folder).alive)  # type: ignore[union-attr]
    found = background(folder)
    assert found is not None
    assert found.state == "stopped", found.log.read_text()


@pytest.mark.slow
def test_one_that_cannot_be_made_says_why(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = plant_traps(tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = store.root / store.ids()[0]
    start([(folder, 77)], ["--task", "arithmetic"])
    wait_for(lambda: not background(folder).alive)  # type: ignore[union-attr]
    found = background(folder)
    assert found is not None
    assert found.state == "failed"
    assert "--step 77" in found.words
    assert found.words.startswith("error: ")
    assert not trace.exists()


def test_one_that_was_killed_is_lost(tmp_path: Path) -> None:
    from dapoctl.runs.files import write_json

    (tmp_path / EVALS).mkdir()
    gone = Identity.of(1).as_dict() | {"pid": 2**22 - 1}
    write_json(tmp_path / EVALS / RECORD, {"schema": 1, "state": ALIVE[1], "options": ["--task", "x"], **gone})
    found = background(tmp_path)
    assert found is not None
    assert (found.state, found.alive, found.options) == ("lost", False, ("--task", "x"))
    assert not stop(tmp_path)
    assert background(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("options", "label"),
    [
        (["--task", "aime24", "-k", "4"], "aime24"),
        (["--task=aime24", "--as=mine"], "mine"),
        (["--data", "/x/held out.jsonl"], "held out"),
        ([], ""),
    ],
)
def test_the_name_that_a_set_will_have(options: list[str], label: str) -> None:
    assert label_of(options) == label


@pytest.mark.slow
def test_the_command_evaluates_in_the_background_too(store: Store) -> None:
    folder = store.root / store.ids()[0]
    options = [
        "--task",
        "arithmetic",
        "-k",
        "2",
        "--limit",
        "6",
        "--as",
        "six",
        "--max-tokens",
        "24",
        "--temperature",
        "0.7",
    ]
    said = json.loads(store.call("eval", folder.name, *options, "--detach", "--json").stdout)
    assert said["log"] == str(folder / "evals" / "eval.log")
    wait_for(lambda: not background(folder).alive)  # type: ignore[union-attr]
    found = background(folder)
    assert found is not None
    assert found.state == "finished", found.words
    again = json.loads(store.call("eval", folder.name, *options, "--detach", "--json").stdout)
    assert "stored already" in again["note"]
    assert again["protocol"]["temperature"] == 0.7
    refused = store.call("eval", "tiny", "--task", "arithmetic", "--detach", code=2)
    assert "--detach: `tiny` is a model" in refused.stderr
