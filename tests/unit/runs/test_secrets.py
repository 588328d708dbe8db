"""What a run's record holds of the environment, the command line and the repository, and who can read it.

Processes: git is asked for the changes, as for any run.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from dapoctl.config.resolve import load
from dapoctl.errors import ConfigError
from dapoctl.runs.files import read_json, write_json
from dapoctl.runs.jobs.create import create, create_run
from dapoctl.runs.jobs.git import LARGEST, working_tree
from dapoctl.runs.jobs.launch import LaunchError, kept, launch
from dapoctl.runs.locks import release, try_lock
from dapoctl.runs.secrets import without_secrets

SECRET = "hunter2"


@pytest.mark.parametrize("name", [
    "HF_TOKEN", "HF_TOKEN_2", "HF_Token", "HF_HUB_TOKENS", "hf_token", "WANDB_API_KEY", "WANDB_API_KEY_OLD", "WANDB_KEYS",
    "TRACKIO_PASS", "TRACKIO_PASSWD", "HF_PASSWORD_FILE", "VLLM_AUTH", "XDG_CREDENTIALS", "VLLM_SECRET_1", "DAPOCTL_CRED",
    "TOKENIZERS_SECRET", "TOKENIZERS_TOKEN",
])  # fmt: skip
def test_secret_by_name(name: str) -> None:
    assert kept({name: SECRET, "HF_HOME": "/hub"}) == {"HF_HOME": "/hub"}


@pytest.mark.parametrize("value", [
    f"https://me:{SECRET}@hub.example/", f"https://{SECRET}@hub.example", f"http://h?write_token={SECRET}", f"token={SECRET}",
    f"https://h/?a=1&api_key={SECRET}", f"postgres://u:{SECRET}@db/x",
])  # fmt: skip
def test_secret_by_value(value: str) -> None:
    assert kept({"HF_ENDPOINT": value, "HF_HOME": "/hub"}) == {"HF_HOME": "/hub"}
    assert SECRET not in str(without_secrets(["dapoctl", "run", "--set", f"mine.url={value}"]))


def test_what_is_no_secret_stays() -> None:
    known = {"TOKENIZERS_PARALLELISM": "false", "HF_ENDPOINT": "https://hub.example:8080/a@b", "LD_LIBRARY_PATH": "/a:/b",
             "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}  # fmt: skip
    assert kept(known) == known
    words = [
        "--set",
        "rollout.max_response_tokens=24",
        "optim.lr=1e-5",
        "clip.eps_high=0.28",
        "./my_key.py:Idea",
        "seed=1,2",
    ]
    assert without_secrets(words) == words
    assert without_secrets(["mine.api_key=x", "--set=mine.hub_token=x"]) == [
        "mine.api_key=***",
        "--set=mine.hub_token=***",
    ]


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Outside a repository whose changes could hold this file.
    monkeypatch.setenv("HF_TOKEN_2", SECRET)
    monkeypatch.setenv("WANDB_BASE_URL", f"https://me:{SECRET}@wandb.example")
    resolved = load([], ["steps=1"], {})
    directory = create(resolved, tmp_path / "runs", ["dapoctl", "run", "--set", f"mine.token={SECRET}"])
    assert not [path for path in directory.rglob("*") if path.is_file() and SECRET in path.read_text()]
    with pytest.raises(ConfigError, match=r"`mine.url` = 'https://\*\*\*@db' holds a password or token"):
        create_run(tmp_path / "none", "x", {"mine": {"url": f"https://me:{SECRET}@db"}}, {}, [])
    assert not (tmp_path / "none").exists()


@pytest.mark.process
def test_a_secret_that_the_starter_lacks_is_named_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    directory = create(load([], ["steps=1"], {}), tmp_path / "runs", ["dapoctl", "run"])
    path = directory / "launch.json"
    assert read_json(path)["left_out"] == ["HF_TOKEN", "WANDB_API_KEY"]
    write_json(path, read_json(path) | {"python": "/bin/false"})
    monkeypatch.delenv("WANDB_API_KEY")
    lock = try_lock(directory / ".lock")
    assert lock is not None
    with pytest.raises(LaunchError, match="/bin/false"):
        launch(directory, 1, [], lock)
    release(lock)
    [line] = (directory / "attempts" / "1" / "stdout.log").read_text().splitlines()
    assert line.startswith("warning: WANDB_API_KEY was set where this run was created, and is not where")


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_the_record_has_the_modes_of_the_umask(tmp_path: Path, mask: int) -> None:
    resolved = load([], ["steps=1"], {})
    before = os.umask(mask)
    try:
        directory = create(resolved, tmp_path / "runs", ["dapoctl", "run"])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.iterdir()]}
    # What runs are started from is nobody else's to write, whatever the umask allows.
    shared = mask | 0o022
    assert modes == {directory.name: 0o777 & ~shared, "spec.json": 0o666 & ~shared, "launch.json": 0o600}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("code.py", ".env", "deep/.env.local"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before\n")
    author = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    return tmp_path


@pytest.mark.process
def test_changes_are_kept_without_files_of_secrets(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("code.py", ".env", "deep/.env.local"):
        (repository / name).write_text(f"after {SECRET if 'env' in name else ''}\n")
    (repository / "untracked.env").write_text(SECRET)
    monkeypatch.chdir(repository / "deep")
    found = working_tree()
    assert "+after" in found["diff"]
    assert "code.py" in found["diff"]
    assert SECRET not in str(found)
    assert "diff_note" not in found


@pytest.mark.process
def test_many_changes_are_cut_and_can_be_left_out(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "code.py").write_text("a line of code\n" * 200_000)
    whole = subprocess.run(["git", "diff", "HEAD"], check=True, capture_output=True).stdout
    digest = hashlib.sha256(whole).hexdigest()
    assert len(whole) > 3 * LARGEST
    found = working_tree()
    assert len(found["diff"].encode()) <= LARGEST
    assert whole.decode().startswith(found["diff"])
    assert found["diff_note"].startswith("cut: ")
    assert f"of {len(whole)} bytes" in found["diff_note"]
    assert digest in found["diff_note"]
    monkeypatch.setenv("DAPOCTL_GIT_DIFF", "0")
    found = working_tree()
    assert found["diff"] == ""
    assert len(found["commit"]) == 40
    assert digest in found["diff_note"]
    directory = create_run(repository / "runs", "x", {}, {}, [])
    assert len(json.dumps(read_json(directory / "spec.json"))) < 10_000
