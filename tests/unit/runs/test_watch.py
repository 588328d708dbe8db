"""What the screens know of the store, without a screen: when it is read, and how metrics are read on."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from dapoctl.runs import summary
from dapoctl.runs.history import Course, Courses
from dapoctl.runs.jobs import watch as watching
from dapoctl.runs.jobs.watch import StoreWatch
from dapoctl.views.numbers import age, time_left
from dapoctl.views.runs import called, changes
from tests.support.stores import add_run, many


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs whose files are read, as they are read."""
    found: list[str] = []
    read = summary.read_record

    def counted(directory: Path) -> summary.RunSummary:
        found.append(directory.name)
        return read(directory)

    monkeypatch.setattr(watching, "read_record", counted)
    return found


def ids(watch: StoreWatch) -> list[str]:
    return [run.id for run in watch.snapshot.runs]


def test_ended_runs_are_read_again_only_while_they_are_seen(tmp_path: Path, reads: list[str]) -> None:
    root = tmp_path / "runs"
    many(root, 5)
    watch = StoreWatch(root)
    watch.look(now=0.0)
    assert len(ids(watch)) == 5
    assert ids(watch) == sorted(ids(watch), reverse=True)
    watch.look(now=2.0)
    assert reads == []
    seen = ids(watch)[0]
    watch.look({seen}, now=4.0)
    assert reads == [seen]


def test_a_new_folder_is_seen_at_once_and_everything_is_read_every_minute(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    first = add_run(root, "20260101-000001-a-0001", name="a")
    watch = StoreWatch(root)
    watch.look(now=0.0)
    add_run(root, "20260101-000002-b-0002", name="b")
    watch.look(now=2.0)
    assert [run.name for run in watch.snapshot.runs] == ["b", "a"]
    spec = json.loads((first / "spec.json").read_text())
    (first / "spec.json").write_text(json.dumps(spec | {"name": "renamed"}))
    watch.look(now=6.0)
    assert watch.snapshot.runs[1].name == "a"
    watch.look(now=66.0)
    assert watch.snapshot.runs[1].name == "renamed"


def behind(root: Path) -> tuple[StoreWatch, str]:
    """A watch that has not seen the newest run, whose store says that nothing changed; and that run's id."""
    add_run(root, "20260101-000001-a-0001", name="a")
    stamp = root.stat()
    watch = StoreWatch(root)
    watch.look(now=0.0)
    made = add_run(root, "20260101-000002-b-0002", name="b").name
    # As a network file system that answers from its cache.
    os.utime(root, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return watch, made


def test_folders_are_listed_every_five_seconds_though_the_store_says_that_nothing_changed(tmp_path: Path) -> None:
    watch, _made = behind(tmp_path / "runs")
    watch.look(now=4.0)
    assert len(ids(watch)) == 1
    watch.look(now=5.0)
    assert len(ids(watch)) == 2


def test_a_run_that_was_made_here_is_there_before_the_next_look_and_after_one_that_missed_it(tmp_path: Path) -> None:
    watch, made = behind(tmp_path / "runs")
    watch.include(made)
    assert [run.name for run in watch.snapshot.runs] == ["b", "a"]
    watch.look(now=1.0)
    assert [run.name for run in watch.snapshot.runs] == ["b", "a"]
    watch.include("20260101-000003-gone-0003")
    assert len(ids(watch)) == 2


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    watch = StoreWatch(tmp_path / "runs")
    found = watch.look(now=0.0)
    assert found.read
    assert not found.runs
    assert str(tmp_path / "runs") in found.problem
    add_run(tmp_path / "runs", "20260101-000001-a-0001")
    assert watch.look(now=1.0).runs
    assert watch.snapshot.problem == ""
    assert not (tmp_path / "none").exists()


# Courses.


def row(step: int, **metrics: object) -> str:
    return json.dumps({"step": step, "time": 100.0 + 2 * step, "metrics": metrics}) + "\n"


def test_a_course_is_read_on_from_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    course = Course(tmp_path)
    assert not course.update()
    path.write_text('{"schema": 1, "kind": "metrics"}\n' + row(1, a=0.5) + row(2, a="NaN", b="-Infinity")[:-10])
    assert course.update()
    assert [*course.steps] == [1]
    with path.open("a") as file:
        file.write(row(2, a="NaN", b="-Infinity")[-10:] + "rubbish\n[]\n" + row(3, a=1))
    assert course.update()
    assert not course.update()
    assert [*course.steps] == [1, 2, 3]
    assert [*course.series["a"].steps] == [1, 2, 3]
    assert [value for value in course.values("a") if math.isfinite(value)] == [0.5, 1.0]
    assert [*course.values("b")] == [-math.inf]
    assert [*course.values("none")] == []
    assert course.last()["a"] == 1.0


def test_a_file_that_shrank_or_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(row(1, a=1) + row(2, a=2) + row(3, a=3))
    course = Course(tmp_path)
    course.update()
    path.write_text(row(1, a=9))  # what a resumed run does with steps after its checkpoint
    course.update()
    assert [*course.values("a")] == [9.0]
    other = tmp_path / "other"
    other.write_text(row(1, a=7) + row(2, a=8))
    os.replace(other, path)  # noqa: PTH105
    course.update()
    assert [*course.values("a")] == [7.0, 8.0]
    path.unlink()
    assert course.update()
    assert [*course.values("a")] == []


def test_time_left_is_that_of_the_median_step(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(row(step, a=1) for step in range(1, 11)))
    course = Course(tmp_path)
    course.update()
    # A step takes 2 s, the last was written at 120 s: ten more are there at 140 s.
    assert course.seconds_left(20, now=120.0) == pytest.approx(20.0)
    assert course.seconds_left(20, now=121.0) == pytest.approx(19.0)
    assert course.seconds_left(20, now=1000.0) == 0.0
    assert course.seconds_left(10, now=120.0) is None


def test_courses_of_runs_that_nobody_looks_at_are_let_go(tmp_path: Path) -> None:
    courses = Courses(kept=2)
    first, second = courses.of(tmp_path / "a"), courses.of(tmp_path / "b")
    assert courses.of(tmp_path / "a") is first
    courses.of(tmp_path / "c")
    assert courses.of(tmp_path / "a") is first
    assert courses.of(tmp_path / "b") is not second


# Words.


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (59, "59s"), (60, "1m"), (3600, "1h"), (86400, "1d"), (-5, "0s"), (9e6, "104d")]
)
def test_age(seconds: float, words: str) -> None:
    assert age(1e9, 1e9 + seconds) == words
    assert age(0.0, 1e9) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (42, "0:42"), (3723, "1:02:03"), (86399, "23:59:59"), (86400 * 12 + 7300, "12d 2h")],
)
def test_time_left_in_words(seconds: float | None, words: str) -> None:
    assert time_left(seconds) == words


def test_a_run_is_called_by_name_and_changes(tmp_path: Path) -> None:
    found = summary.read_run(add_run(tmp_path, "20260101-000001-x-7f3a", ["clip_higher", "gkl"], name="x"))
    assert called(found) == "x 7f3a"
    assert changes(found) == "clip_higher,gkl"
    assert changes(summary.read_run(add_run(tmp_path, "20260101-000002-y-7f3b"))) == "grpo"


def test_figures_that_no_array_holds_are_damage(tmp_path: Path) -> None:
    huge = "1" + "0" * 400
    rows = [row(1, a=1), row(2, a=2).replace('"step": 2', f'"step": {huge}'), row(3, a=3).replace("3}", f"{huge}}}")]
    (tmp_path / "metrics.jsonl").write_text("".join(rows))
    course = Course(tmp_path)
    course.update()
    assert [*course.steps] == [1, 3]
    assert len(course.times) == 2
    assert course.values("a")[0] == 1.0
    assert math.isnan(course.values("a")[1])
