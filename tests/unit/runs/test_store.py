"""The run store: whatever lies there is listed with a reason, and nothing is overwritten."""

from __future__ import annotations

import json
import math
import os
import pty
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dapoctl.errors import UserError
from dapoctl.runs import index
from dapoctl.runs.attempts import LOCK, WRITER
from dapoctl.runs.files import last_row, number_or_nan, number_or_none, read_json, read_lines, write_json, write_lines
from dapoctl.runs.index import INDEX, list_runs
from dapoctl.runs.jobs import create
from dapoctl.runs.jobs.queue import drop, enqueue
from dapoctl.runs.locks import is_locked, release, try_lock
from dapoctl.runs.notes import change_tags, write_note
from dapoctl.runs.plugin_changes import agreed
from dapoctl.runs.record import RunRecord
from dapoctl.runs.remove import check_removable, remove_checkpoints, remove_run, size_of
from dapoctl.runs.store import find_run
from dapoctl.runs.summary import metric_rows, read_run
from dapoctl.runs.tickets import Ticket, tickets
from tests.support.cli import Done, dapoctl
from tests.support.users import public_folder

SPEC = {
    "schema": 1,
    "name": "gkl",
    "created": 1000.0,
    "config": {"steps": 10, "optim": {"lr": 1e-6}, "model": {"path": "tiny"}},
    "pipeline": {"gkl": {}, "grpo": {}},
}


def make_run(root: Path, name: str, steps: int = 10, ended: bool = True) -> Path:
    directory = root / name
    write_json(directory / "spec.json", SPEC | {"id": name})
    rows = [
        {"step": n, "time": 1.0 * n, "metrics": {"reward/mean": n / 10, "policy/kl": "NaN"}}
        for n in range(1, steps + 1)
    ]
    write_lines(directory / "metrics.jsonl", {"kind": "metrics"}, rows)
    (directory / "attempts" / "1").mkdir(parents=True)
    if ended:
        write_json(directory / "attempts" / "1" / "exit.json", {"state": "finished", "error": ""})
    return directory


def in_store(*arguments: str, root: Path, code: int) -> Done:
    done = dapoctl(*arguments, "--runs-dir", str(root), cwd=root)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_summary_is_the_last_row_and_the_newest_evaluations(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    for step, value in ((5, 0.25), (10, 0.5), (9, 0.75)):
        write_json(
            directory / "evals" / "aime24" / f"step_{step}" / "summary.json", {"metrics": {"eval/aime24/avg@8": value}}
        )
    summary = read_run(directory)
    assert (summary.state, summary.step, summary.steps, summary.components) == ("finished", 10, 10, ("gkl", "grpo"))
    assert summary.metrics["reward/mean"] == 1.0
    assert math.isnan(summary.metrics["policy/kl"])
    assert summary.metrics["eval/aime24/avg@8"] == 0.5
    assert list_runs(tmp_path)[0].metrics["eval/aime24/avg@8"] == 0.5


def test_last_rows_of_awkward_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    def last(text: bytes) -> object:
        path.write_bytes(text)
        return last_row(path, lambda row: "n" in row)

    assert last(b"") is None
    assert last(b'{"n": 1}') == {"n": 1}, "whole, if without its line end"
    assert last(b'{"n": 1}\n') == {"n": 1}
    assert last(b'{"n": 1}\n{"n": 2') == {"n": 1}
    assert last(b'{"n": 1}\ngarbage\n{"m": 2}\n[3]\n') == {"n": 1}
    assert last(b"\n\n") is None
    long = json.dumps({"n": "x" * 100_000}).encode()
    assert last(long + b"\n" + b'{"m": 1}\n' * 10_000 + b'{"n') == {"n": "x" * 100_000}
    every = [{"n": number, "pad": "y" * (number % 97)} for number in range(5000)]
    text = "".join(json.dumps(row) + "\n" for row in every).encode()
    assert last(text) == every[-1]
    assert last(text[:-1]) == every[-1]
    assert last(text[:-2]) == every[-2]
    assert last_row(tmp_path / "none", lambda _row: True) is None


def snapshot(root: Path) -> dict[str, tuple[int, float]]:
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime) for p in root.rglob("*") if INDEX not in p.name}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (0.25, 0.25),
        ("inf", math.inf),
        ("-inf", -math.inf),
        (10**400, None),
        ("x", None),
        (None, None),
        ([], None),
    ],
)
def test_numbers_of_json(value: object, expected: float | None) -> None:
    assert number_or_none(value) == expected
    assert math.isnan(number_or_nan(value)) if expected is None else number_or_nan(value) == expected


def test_the_word_for_not_a_number_is_one() -> None:
    assert math.isnan(number_or_none("nan") or 0.0)
    assert math.isnan(number_or_nan("nan"))


def test_whatever_lies_in_the_store_is_listed_with_a_reason(tmp_path: Path) -> None:
    whole = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    torn = make_run(tmp_path, "20260101-000001-gkl-torn", ended=False)
    with (torn / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "met')
    cut = make_run(tmp_path, "20260101-000002-gkl-cut")
    text = (cut / "spec.json").read_text()
    (cut / "spec.json").write_text(text[: len(text) // 2])
    (tmp_path / "holiday photos").mkdir()
    (tmp_path / "holiday photos" / "1.jpg").write_text("")
    newer = make_run(tmp_path, "20260101-000003-gkl-newer")
    write_json(newer / "spec.json", SPEC | {"schema": 99})
    wrong = make_run(tmp_path, "20260101-000004-gkl-wrong")
    write_json(wrong / "spec.json", SPEC | {"config": [1], "created": "yesterday"})
    list_ = make_run(tmp_path, "20260101-000005-gkl-list")
    (list_ / "spec.json").write_text("[]")
    empty = make_run(tmp_path, "20260101-000006-gkl-empty")
    for name in ("metrics.jsonl", "attempts/1/exit.json", "notes.json"):
        (empty / name).write_text("")
    (tmp_path / "a file").write_text("")
    before = snapshot(tmp_path)
    for _ in range(2):
        found = {summary.id: summary for summary in list_runs(tmp_path)}
        assert len(found) == 8
        assert found[whole.name].state == "finished"
        assert (found[torn.name].state, found[torn.name].step) == ("lost", 10)
        assert "damaged" in found[cut.name].problem
        assert "not a run" in found["holiday photos"].problem
        assert "newer dapoctl (schema 99" in found[newer.name].problem
        assert "damaged" in found[wrong.name].problem
        assert "damaged" in found[list_.name].problem
        assert (found[empty.name].state, found[empty.name].step) == ("lost", 0)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("change", [
    {"schema": math.inf}, {"created": math.nan}, {"created": 10**400}, {"created": "now"}, {"created": 1e300}, {"config": []},
    {"config": {"steps": -math.inf}}, {"config": {"model": "tiny"}}, {"config": None}, {"pipeline": 1e300}, {"pipeline": None},
])  # fmt: skip
def test_a_specification_of_other_types_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    whole = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    other = make_run(tmp_path, "20260101-000001-gkl-bbbb")
    write_json(other / "spec.json", SPEC | change)
    found = {summary.id: summary for summary in list_runs(tmp_path)}
    assert found[whole.name].state == "finished"
    assert found[other.name].problem == "spec.json is damaged"


@pytest.mark.parametrize("when", [10**400, "x", None, [], {}], ids=["huge", "word", "none", "list", "table"])
def test_a_row_of_other_types_ends_no_list(tmp_path: Path, when: Any) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    append(directory / "metrics.jsonl", json.dumps({"step": 11, "time": when, "metrics": {"reward/mean": when}}) + "\n")
    write_json(directory / "plugins.json", {"changes": when})
    [found] = list_runs(tmp_path)
    assert (found.step, found.updated, found.metrics) == (11, 0.0, {})
    assert agreed(directory) == []


@pytest.mark.process
def test_a_folder_without_permission() -> None:
    # Root may read everything: the process becomes another user once it has imported what it needs. Pytest closes its own
    # folders to others whenever one starts.
    with public_folder() as root:
        directory = make_run(root, "20260101-000000-gkl-aaaa")
        code = f"""
import dataclasses, os
from pathlib import Path
from dapoctl.runs.index import list_runs
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print([run.problem for run in list_runs(Path({str(root)!r}))])
"""
        directory.chmod(0)
        try:
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        finally:
            directory.chmod(0o755)
    assert done.stdout == "['cannot be read: Permission denied']\n", done.stdout + done.stderr


def test_the_index_may_be_deleted_or_damaged_at_any_time(tmp_path: Path) -> None:
    make_run(tmp_path, "20260101-000000-gkl-aaaa")
    first = list_runs(tmp_path)
    assert (tmp_path / INDEX).is_file()
    for damage in ("", "{", '{"version": 2, "runs": []}', '{"version": 2, "runs": {"20260101-000000-gkl-aaaa": {}}}'):
        (tmp_path / INDEX).write_text(damage)
        found = list_runs(tmp_path)
        assert [(run.id, run.step, run.state) for run in found] == [(run.id, run.step, run.state) for run in first]
    (tmp_path / INDEX).unlink()
    assert len(list_runs(tmp_path)) == 1


def test_the_index_is_used_and_notices_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    list_runs(tmp_path)
    read: list[str] = []
    original = index.read_record
    monkeypatch.setattr(index, "read_record", lambda path: read.append(path.name) or original(path))
    assert list_runs(tmp_path)[0].config["optim"]["lr"] == 1e-6
    assert read == []
    changes = [
        lambda: change_tags(directory, ["good"]),
        lambda: write_note(directory, "a note"),
        lambda: append(directory / "metrics.jsonl", '{"step": 11, "metrics": {}}\n'),
        lambda: write_json(directory / "evals/aime24/step_11/summary.json", {"metrics": {"eval/aime24/avg@1": 1.0}}),
        lambda: write_json(directory / "evals/aime24/step_12/summary.json", {"metrics": {"eval/aime24/avg@1": 0.5}}),
        lambda: write_json(directory / "attempts/1/exit.json", {"state": "failed", "error": "it fell over"}),
        lambda: write_json(directory / "attempts/2/exit.json", {"state": "stopped"}),
    ]
    for place, change in enumerate(changes, 1):
        change()
        list_runs(tmp_path)
        assert len(read) == place, place
    found = list_runs(tmp_path)[0]
    assert (found.tags, found.note, found.step, found.state) == (("good",), "a note", 11, "stopped")
    assert found.metrics["eval/aime24/avg@1"] == 0.5


def test_a_run_without_word_is_asked_each_time(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa", ended=False)
    shutil.rmtree(directory / "attempts")
    assert (list_runs(tmp_path)[0].state, list_runs(tmp_path)[0].why) == ("stopped", "it was never started")
    (directory / "attempts" / "1").mkdir(parents=True)
    assert list_runs(tmp_path)[0].state == "lost"
    write_json(directory / "attempts/1/exit.json", {"state": "finished"})
    assert list_runs(tmp_path)[0].state == "finished"


def test_runs_of_another_machine_go_by_their_heartbeat(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa", ended=False)
    process = {"host": "elsewhere", "boot_id": "b", "pid": 1, "create_time": 1.0}
    write_json(directory / "attempts/1/proc.json", process)
    (directory / "attempts/1/heartbeat").touch()
    assert (read_run(directory).state, read_run(directory).why) == ("running", "on elsewhere")
    later = read_run(directory, now=time.time() + 300)
    assert (later.state, later.why) == ("lost", "no sign of life from elsewhere for 5 min")


def test_removing(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    assert size_of(directory) > 500
    check_removable(directory)
    remove_run(directory)
    assert [path.name for path in tmp_path.iterdir()] == []
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="not a run"):
        check_removable(tmp_path / "photos")
    # What an interrupted removal left goes with the next one.
    shutil.copytree(make_run(tmp_path, "20260101-000001-gkl-bbbb"), tmp_path / ".deleted-x")
    assert [run.id for run in list_runs(tmp_path)] == ["20260101-000001-gkl-bbbb", "photos"]
    remove_run(find_run(tmp_path, "bbbb"))
    assert [path.name for path in tmp_path.iterdir() if path.name != INDEX] == ["photos"]


def test_a_run_is_named_by_four_characters_or_more(tmp_path: Path) -> None:
    one = make_run(tmp_path, "20260101-000000-gkl-0fca")
    make_run(tmp_path, "20260101-000001-x-beef")
    for text in ("0fca", "l-0fca", "gkl", one.name, "20260101-000000"):
        assert find_run(tmp_path, text) == one, text
    for text in ("a", "ca", "fca", "f", "202"):
        with pytest.raises(UserError, match="too short for a run: give 4 characters or more"):
            find_run(tmp_path, text)
    assert find_run(tmp_path, "x").name.endswith("beef"), "a run's whole name may be short"
    for text in ("", " "):
        with pytest.raises(UserError, match="name is empty"):
            find_run(tmp_path, text)


def test_an_unset_variable_deletes_nothing(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    for text in ("", "a", "2"):
        assert in_store("runs", "rm", text, "--yes", root=tmp_path, code=2).stdout == ""
    assert directory.is_dir()


def test_what_is_being_worked_on_by_now_is_not_removed(tmp_path: Path) -> None:
    """The question was asked while nobody worked on it."""
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    (directory / "checkpoints").mkdir()
    check_removable(directory)
    for name in (LOCK, WRITER):
        held = try_lock(directory / name)
        assert held is not None
        for remove in (remove_run, remove_checkpoints):
            with pytest.raises(UserError, match="is being worked on"):
                remove(directory)
        release(held)
    held = try_lock(directory / "evals" / "aime24" / "step_1" / ".lock")
    assert held is not None
    with pytest.raises(UserError, match="is being evaluated"):
        remove_run(directory)
    release(held)
    enqueue(tmp_path, Ticket(directory.name, 2))
    with pytest.raises(UserError, match="waits in the queue"):
        remove_run(directory)
    drop(tmp_path, directory.name)
    assert (directory / "checkpoints").is_dir()
    remove_run(directory)
    assert not directory.exists()


@pytest.mark.process
def test_a_run_that_is_resumed_while_the_question_stands_is_kept(tmp_path: Path) -> None:
    """The question needs a terminal, so the command is a process on one."""
    first, second = (make_run(tmp_path, f"20260101-00000{n}-gkl-aaa{n}") for n in (1, 2))
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "dapoctl", "runs", "rm", first.name, second.name, "--runs-dir", str(tmp_path)]
    removing = subprocess.Popen(command, stdin=inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(inside)
    assert removing.stderr is not None
    said = ""
    while "[y/N]" not in said:
        said += removing.stderr.read(1)
    resumed = try_lock(second / LOCK)
    assert resumed is not None
    os.write(terminal, b"y\n")
    output, errors = removing.communicate(timeout=60)
    os.close(terminal)
    assert (removing.returncode, output.strip()) == (2, "deleted 1, 0 MiB")
    assert f"run `{second.name}` is being worked on" in errors
    assert [path.name for path in tmp_path.iterdir()] == [second.name]
    release(resumed)


def test_nobody_begins_to_work_on_a_run_while_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    seen: list[bool] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        seen.extend(is_locked(directory / name) for name in (LOCK, WRITER))
        # One that comes between the look and the rename.
        enqueue(tmp_path, Ticket(directory.name, 2))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    remove_run(directory)
    assert seen == [True, True]
    assert tickets(tmp_path) == []
    with pytest.raises(UserError, match="was deleted meanwhile"):
        RunRecord(directory)
    assert not directory.exists(), "no ghost of it"


def fill(folder: Path) -> None:
    for number in range(100):
        (folder / f"file{number}").touch()


def test_a_run_can_be_deleted_where_not_one_file_fits(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=40", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
        with pytest.raises(OSError, match="No space left"):
            fill(tmp_path)
        remove_run(directory)
        assert not directory.exists()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_what_an_interrupted_removal_of_checkpoints_left_is_in_nobodys_way(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    (directory / ".deleted-checkpoints" / "step_1").mkdir(parents=True)
    (directory / "checkpoints" / "step_2").mkdir(parents=True)
    remove_checkpoints(directory)
    assert {path.name for path in directory.iterdir() if "checkpoints" in path.name} == set()


def test_of_a_link_the_link_goes(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    kept = make_run(tmp_path / "elsewhere", "20260101-000000-gkl-aaaa")
    root.mkdir()
    (root / kept.name).symlink_to(kept)
    done = in_store("runs", "rm", "aaaa", "--yes", root=root, code=0)
    assert "deleted 1, 0 MiB" in done.stdout
    assert [path.name for path in root.iterdir()] == []
    assert (kept / "spec.json").is_file()
    (kept / "checkpoints").symlink_to(tmp_path / "elsewhere")
    remove_checkpoints(kept)
    assert not (kept / "checkpoints").is_symlink()
    assert [path.name for path in kept.iterdir() if path.name.startswith(".deleted")] == []


def test_a_tower_of_brackets_is_a_damaged_file(tmp_path: Path) -> None:
    whole = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    for number, name in enumerate(("spec.json", "notes.json", "attempts/1/exit.json", "metrics.jsonl"), 1):
        path = shutil.copytree(whole, tmp_path / f"20260101-00000{number}-gkl-bbb{number}") / name
        path.write_text("[" * 100_000)
    found = {run.id: run for run in list_runs(tmp_path)}
    assert len(found) == 5
    assert found["20260101-000001-gkl-bbb1"].problem == "spec.json is damaged"
    assert found[whole.name].state == "finished"


def test_sixteen_tags_at_once_are_sixteen_tags(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    start = threading.Barrier(17)

    def tag(name: str) -> None:
        start.wait()
        change_tags(directory, [name])

    threads = [threading.Thread(target=tag, args=(f"tag{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    start.wait()
    write_note(directory, "a note")
    for thread in threads:
        thread.join()
    summary = read_run(directory)
    assert sorted(summary.tags) == sorted(f"tag{number}" for number in range(16))
    assert summary.note == "a note"


def test_two_runs_of_one_name_in_one_second_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["20260101-000000-a-0001", "20260101-000000-a-0001", "20260101-000000-a-0002"])
    monkeypatch.setattr(create, "new_run_id", lambda _name: next(drawn))
    made = [create.create_run(tmp_path, "a", {}, {}, ["dapoctl"]) for _ in range(2)]
    assert [path.name for path in made] == ["20260101-000000-a-0001", "20260101-000000-a-0002"]
    assert all(read_json(path / "spec.json")["id"] == path.name for path in made)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_kills_left_half_written_is_swept(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20260101-000000-gkl-aaaa")
    mine = ("checkpoints/.latest.abcd_123", "samples/.step_3.jsonl.abcd1234", ".metrics.jsonl.abcd1234")
    others = (".notes.json.abcd1234", "attempts/1/.stop.json.abcd1234", "evals/x/step_1/.summary.json.abcd1234")
    kept = (".lock", "checkpoints/latest", "checkpoints/.latest.old", "samples/.step_3.jsonl.mine-and-kept")
    for name in (*mine, *others, *kept):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (directory / ".deleted-checkpoints" / "step_1").mkdir(parents=True)
    RunRecord(directory).close()
    assert not (directory / ".deleted-checkpoints").exists()
    assert {name for name in (*mine, *others, *kept) if (directory / name).exists()} == {*others, *kept}
    in_store = [tmp_path / name for name in (".index.json.abcd1234", ".queue/.state.json.abcd1234", ".x.new/spec.json")]
    for path in in_store:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    create.create_run(tmp_path, "a", {}, {}, ["dapoctl"])
    assert all(path.exists() for path in in_store), "somebody may be writing them"
    for path in (*in_store, in_store[2].parent, *(directory / name for name in others)):
        os.utime(path, (1.0, 1.0))
    create.create_run(tmp_path, "b", {}, {}, ["dapoctl"])
    RunRecord(directory).close()
    assert not any(path.exists() for path in (*in_store, *(directory / name for name in others)))
    assert all((directory / name).exists() for name in kept)


def test_metric_rows_leave_out_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"schema": 1}\n{"step": 1, "metrics": {"a": "Infinity", "b": "?"}}\nrubbish\n{"step": "x"}\n{"step": 2'
    )
    assert [(row["step"], row["metrics"]) for row in metric_rows(tmp_path)] == [(1, {"a": math.inf})]
    assert len(list(read_lines(path))) == 3
