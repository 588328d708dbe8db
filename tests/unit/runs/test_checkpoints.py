"""Checkpoints on disk: which are whole, which are damaged, and what a stranger's files beside them do."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dapoctl.errors import StorageError, UserError
from dapoctl.runs.attempts import WRITER
from dapoctl.runs.checkpoints import (
    adopt,
    checkpoints,
    damage_of,
    discard,
    latest,
    newest_first,
    problem_of,
    put_in_place,
    rewind,
    step_of,
)
from dapoctl.runs.files import LineWriter, read_json, read_lines, write_json
from dapoctl.runs.jobs.grace import grace_for
from dapoctl.runs.locks import release, try_lock
from dapoctl.runs.manifest import MANIFEST, Sealing

FILES = {
    "model/config.json": b'{"model_type": "tiny"}\n',
    "model/model.safetensors": bytes(range(1, 256)) * 64,
    "model/tokenizer.json": b'{"vocab": {}}' * 50,
    "state.pt": bytes(range(255, 0, -1)) * 97,
}


def unsealed(directory: Path, step: int, name: str = "") -> Path:
    """A checkpoint as versions without manifests wrote it."""
    path = directory / "checkpoints" / (name or f"step_{step}")
    for file, content in FILES.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(content + str(step).encode())
    return path


def sealed(directory: Path, step: int, name: str = "") -> Path:
    path = unsealed(directory, step, name)
    with Sealing(path, step) as sealing:
        with sealing.writing("state.pt") as file:
            content = FILES["state.pt"] + str(step).encode()
            assert file.write(content[:1000]) + file.write(memoryview(content)[1000:]) == len(content)
        sealing.finish()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def zero(content: bytes, draw: random.Random) -> bytes:
    size = min(4096, len(content))
    place = draw.randrange(len(content) - size + 1)
    return content[:place] + bytes(size) + content[place + size :]


@pytest.mark.parametrize(("damage", "times"), [(flip, 240), (cut, 80), (zero, 80)])
def test_no_damage_to_any_file_is_taken_for_the_checkpoint(
    tmp_path: Path, damage: Callable[[bytes, random.Random], bytes], times: int
) -> None:
    path, draw = sealed(tmp_path, 3), random.Random(0)
    assert damage_of(path) == ""
    files = sorted(each for each in path.rglob("*") if each.is_file())
    assert len(files) == 5
    for number in range(times):
        file = files[number % len(files)]
        content = file.read_bytes()
        file.write_bytes(damage(content, draw))
        assert file.name in damage_of(path), (file, number)
        if damage is cut:
            assert problem_of(path) == damage_of(path)
            assert latest(tmp_path) is None
        file.write_bytes(content)
    assert damage_of(path) == ""


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_without_reading_any(tmp_path: Path, name: str) -> None:
    sealed(tmp_path, 2)
    path = sealed(tmp_path, 4)
    (path / name).unlink()
    assert problem_of(path) == f"{name} is missing"
    assert latest(tmp_path) == tmp_path / "checkpoints" / "step_2"


def test_a_checkpoint_without_a_manifest_is_accepted_if_its_state_is_there(tmp_path: Path) -> None:
    path = unsealed(tmp_path, 4)
    assert (problem_of(path), damage_of(path)) == ("", "")
    (path / "state.pt").write_bytes(b"")
    assert problem_of(path) == "state.pt is empty"
    assert latest(tmp_path) is None


def test_what_a_user_puts_beside_checkpoints_is_no_checkpoint(tmp_path: Path) -> None:
    path = sealed(tmp_path, 60)
    root = path.parent
    for name in ("step_60_best", "step_060", "step_+61", "step_61.bak", "step_", "step_6²"):
        shutil.copytree(path, root / name)
    (root / "step_notes.txt").write_text("best so far")
    (root / "step_62").write_text("a file")
    shutil.copytree(path, root / "step_63")
    shutil.copytree(path, root / "step_59")
    assert checkpoints(tmp_path) == {60: path}
    assert "copy of the checkpoint of step 60" in damage_of(root / "step_63")
    assert path in newest_first(tmp_path)
    assert root / "step_62" not in newest_first(tmp_path)
    before = {*names(root)}
    discard(tmp_path, {60}, before=60)
    assert {*names(root)} == before


def test_a_sealed_partial_is_taken_once_nobody_writes_and_gets_its_name(tmp_path: Path) -> None:
    sealed(tmp_path, 2)
    partial = sealed(tmp_path, 4, ".step_4.partial")
    unsealed(tmp_path, 6, ".step_6.partial")
    writer = try_lock(tmp_path / WRITER)
    assert writer is not None
    assert [*checkpoints(tmp_path)] == [2]
    release(writer)
    assert checkpoints(tmp_path)[4] == latest(tmp_path) == partial
    assert step_of(partial) == 4
    path = adopt(partial)
    assert path == latest(tmp_path) == tmp_path / "checkpoints" / "step_4"
    assert damage_of(path) == ""
    assert (path.parent / "latest").read_text() == "step_4\n"


def test_one_of_the_same_step_is_replaced_and_kept_if_that_fails(tmp_path: Path) -> None:
    old = sealed(tmp_path, 4)
    (old / "mark").write_text("old")
    put_in_place(sealed(tmp_path, 4, ".step_4.partial"))
    assert not (old / "mark").exists()
    assert names(old.parent) == ["step_4"]
    with pytest.raises(OSError, match=r"No such file"):
        put_in_place(old.with_name(".step_4.partial"))
    assert latest(tmp_path) == old


def test_going_back_keeps_what_is_later_under_another_name(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        sealed(tmp_path, step)
    (first,) = rewind(tmp_path, 4)
    assert (first.name, latest(tmp_path)) == ("step_6.set-aside", tmp_path / "checkpoints" / "step_4")
    sealed(tmp_path, 6)
    (second,) = rewind(tmp_path, 4)
    assert second.name == "step_6.set-aside-2"
    assert damage_of(tmp_path / "checkpoints" / "step_4") == ""
    assert len(rewind(tmp_path, 0)) == 2
    assert [*newest_first(tmp_path)] == []


def test_going_back_to_what_is_not_there_or_damaged_changes_nothing(tmp_path: Path) -> None:
    for step in (2, 4):
        sealed(tmp_path, step)
    file = tmp_path / "checkpoints" / "step_2" / "state.pt"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match=r"--step 3: .* of the steps 2, 4"):
        rewind(tmp_path, 3)
    with pytest.raises(StorageError, match=r"step_2` is damaged: state.pt has other contents"):
        rewind(tmp_path, 2)
    file.write_bytes(content)
    writer = try_lock(tmp_path / WRITER)
    assert writer is not None
    with pytest.raises(UserError, match=r"worked on by another process"):
        rewind(tmp_path, 2)
    release(writer)
    assert [*checkpoints(tmp_path)] == [2, 4]


def test_lone_surrogates_survive_a_json_file(tmp_path: Path) -> None:
    row = {"error": "bad name: \udcff"}
    write_json(tmp_path / "note.json", row)
    assert read_json(tmp_path / "note.json") == row
    writer = LineWriter(tmp_path / "events.jsonl", {"kind": "events"})
    writer.write(row)
    writer.close()
    assert [*read_lines(tmp_path / "events.jsonl")][1:] == [row]


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    path = sealed(tmp_path, 1)
    listed = read_json(path / MANIFEST)["files"]
    assert {*listed} == {*FILES}
    for name in FILES:
        content = (path / name).read_bytes()
        assert listed[name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize(("size", "seconds"), [(None, 120), (0, 120), (48_000_000_000, 600)])
def test_a_large_checkpoint_is_given_the_time_it_takes(size: int | None, seconds: float, tmp_path: Path) -> None:
    if size is not None:
        state = tmp_path / "checkpoints" / "step_3" / "state.pt"
        state.parent.mkdir(parents=True)
        with state.open("wb") as file:
            file.truncate(size)
    assert grace_for(tmp_path) == pytest.approx(seconds)
