"""The record of a run's model and data, and how what is there differs from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dapoctl.runs import inputs
from dapoctl.runs.inputs import changed_inputs, describe_files, describe_model, revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_cache(folder: Path, commit: str) -> None:
    """A model in a hub cache, as `huggingface_hub` lays it out."""
    model = folder / "models--owner--name"
    (model / "refs").mkdir(parents=True, exist_ok=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True)
    (model / "snapshots" / commit / "config.json").write_text("{}")


def test_a_hub_models_revision_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert revision("owner/name") == ""
    hub_cache(tmp_path, COMMIT)
    assert describe_model("owner/name") == {"revision": COMMIT}


def test_large_files_of_a_model_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "HASHED", 4)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    os.utime(tmp_path / "model.safetensors", (1.5e9, 1.5e9))
    files = describe_model(str(tmp_path))["files"]
    assert files["model.safetensors"] == {"bytes": 5, "modified": 1.5e9}
    # printf '{}' | sha256sum
    assert files["config.json"]["sha256"] == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    data, gone = tmp_path / "d.jsonl", tmp_path / "gone.jsonl"
    data.write_text("1")
    gone.write_text("1")
    paths = [str(data), str(gone)]
    before = {"model": {"revision": COMMIT}, "data": describe_files(paths)}
    assert changed_inputs(before, before) == []
    data.write_text("2")
    gone.unlink()
    now = {"model": {"revision": "f" * 40}, "data": describe_files(paths)}
    changes = {change["what"]: (change["from"], change["to"]) for change in changed_inputs(before, now)}
    # printf 1 | sha256sum, printf 2 | sha256sum
    assert changes == {
        str(data): (
            "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
            "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
        ),
        "model's revision": (COMMIT, "f" * 40),
    }
    assert changed_inputs(None, now) == changed_inputs({"model": {"revision": ""}}, now) == []
