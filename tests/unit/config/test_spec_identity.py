"""What a run's record says is what was asked: read again, from another folder, it is the same pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dapoctl.config.load import Layers
from dapoctl.config.resolve import Resolved, load, resolve
from dapoctl.errors import PluginError
from dapoctl.runs.files import read_json, write_json
from dapoctl.runs.jobs.create import create
from dapoctl.training.attempt import resume
from tests.support.cli import Cli
from tests.support.helpers import plugin_file

TWO = '''
    """Two ideas in a file."""
    from dapoctl import Component, Problem, Score, hookimpl

    class LenA(Component):
        """A cost per token."""
        rate: float = 0.1
        @hookimpl
        def shape_rewards(self, batch):
            return -self.rate * batch.lengths

    class LenB(Component):
        """A constant."""
        by: float = 5.0
        @hookimpl
        def shape_rewards(self, batch):
            return batch.rewards * 0 - self.by

    class Sums(Component):
        """A task."""
        @hookimpl
        def load_problems(self, split):
            return [Problem("a", "1+1=", "2")]
        @hookimpl
        def score_response(self, problem, text):
            return Score(0.0, False, text, "wrong")
'''
ONE = TWO[: TWO.index("    class LenB")].replace("LenA", "Single")

FORMS: dict[str, tuple[list[str], list[str]]] = {
    "none": ([], []),
    "names": (["clip_higher", "gkl"], ["gkl.gamma=0.25"]),
    "a recipe and what is left out": (["dapo", "-overlong", "-tensorboard"], []),
    "a file of one class": (["./single.py"], ["single.rate=0.5"]),
    "a class of a file": (["./two.py:LenA"], []),
    "two classes of a file": (["./two.py:LenA", "./two.py:LenB"], []),
    "two classes of a file with parameters": (["two.py:LenB", "two.py:LenA"], ["len_a.rate=0.25", "len_b.by=2"]),
    "a name between them": (["./two.py:LenA", "gkl", "./two.py:LenB"], []),
    "folders with .py in their names": ([".pyenv/x.py.d/two.py:LenB", ".pyenv/x.py.d/single.py"], ["len_b.by=1"]),
    "a colon in a folder's name": (["./a.py:b/single.py", "./a.py:b/two.py:LenB"], []),
    "an absolute path, a task from the same file": (["{here}/two.py:LenA"], ["task=./two.py:Sums", "len_a.rate=1"]),
    "home": (["~/two.py:LenB", "~/two.py:LenA"], []),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    for place in (folder, folder / ".pyenv" / "x.py.d", folder / "a.py:b"):
        place.mkdir(parents=True)
        plugin_file(place, TWO, "two.py")
        plugin_file(place, ONE, "single.py")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder


def parts(resolved: Resolved) -> dict[str, Any]:
    """All that is trained with: each component's class, origin and parameters, in order."""
    return {
        name: (resolved.chosen[name].entry.value, component.model_dump())
        for name, component in resolved.pipeline.components.items()
    }


@pytest.mark.parametrize(
    ("form", "source"),
    [
        *((form, "options") for form in FORMS),
        *((form, "a file") for form in ("two classes of a file with parameters", "folders with .py in their names")),
    ],
)
def test_a_run_is_its_record(here: Path, tmp_path: Path, form: str, source: str) -> None:
    plugins, settings = FORMS[form]
    plugins = [word.replace("{here}", str(here)) for word in plugins]
    files = []
    if source == "a file":
        files = [here / "run.toml"]
        files[0].write_text(f"plugins = {json.dumps(plugins)}\n")
    asked = load(files, settings, {} if files else {"plugins": plugins})
    wanted = {word.rpartition(":")[2] for word in plugins if ":Len" in word}
    assert wanted <= {value.rpartition(":")[2] for value, _ in parts(asked).values()}
    spec = read_json(create(asked, tmp_path / "runs", ["test"]) / "spec.json")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        layers = Layers()
        layers.add(spec["config"], "spec.json")
        again = resolve(layers)
        assert parts(again) == parts(asked)
        assert list(spec["pipeline"]) == list(parts(again))
        # And what is made of that is the same once more.
        second = read_json(create(again, tmp_path / "second", ["test"]) / "spec.json")
    assert (second["config"], second["pipeline"]) == (spec["config"], spec["pipeline"])


def test_a_sweep_records_what_was_asked(here: Path, cli: Cli) -> None:
    """As `--queue` does; no run is started, for the only slot is taken."""
    from dapoctl.runs.jobs.leases import devices, give_back, lease

    slot = lease(devices()[0], "another")
    assert slot is not None
    try:
        done = cli(
            "sweep",
            "--axis",
            "seed=1,2",
            "--plugins",
            "./here/two.py:LenA,./here/two.py:LenB",
            "--json",
            DAPOCTL_SLOTS="1",
        )
    finally:
        give_back([slot])
    assert done.returncode == 0, done.stderr
    for run in json.loads(done.stdout)["runs"]:
        spec = read_json(Path(run["directory"]) / "spec.json")
        assert spec["config"]["plugins"] == [f"{here}/two.py:LenA", f"{here}/two.py:LenB"]
        assert {"len_a", "len_b"} <= spec["pipeline"].keys()


def changed(directory: Path, change: Any) -> Path:
    spec = read_json(directory / "spec.json")
    change(spec)
    write_json(directory / "spec.json", spec)
    return directory


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # As it was written when two classes of a file were taken for one.
        (
            lambda spec: spec["config"].update(plugins=[spec["config"]["plugins"][0]] * 2, len_b={}),
            "`len_b` (PLACE/two.py:LenB) is missing",
        ),
        (lambda spec: spec["config"]["plugins"].append("gkl"), "`gkl` (dapoctl_gkl.gkl:Gkl) is there besides"),
        (
            lambda spec: spec["pipeline"]["clip"].update(distribution="another"),
            "`clip` was another and is dapoctl",
        ),
    ],
    ids=["missing", "besides", "from elsewhere"],
)
def test_an_attempt_with_other_components_is_refused(here: Path, tmp_path: Path, change: Any, words: str) -> None:
    asked = load([], ["steps=1"], {"plugins": ["./two.py:LenA", "./two.py:LenB"]})
    directory = create(asked, tmp_path / "runs", ["test"])
    changed(directory, lambda spec: (change(spec), spec["config"].pop("len_b", None)))
    with pytest.raises(PluginError) as refused:
        resume(directory)
    assert words.replace("PLACE", str(here)) in str(refused.value)
    assert "start a new run with its last weights" in str(refused.value)
    assert not (directory / "attempts").exists()


def test_an_observer_may_come_or_go(tmp_path: Path) -> None:
    from dapoctl.components.base import only_observes
    from dapoctl.runs.plugin_changes import refuse_different
    from dapoctl.runs.summary import read_record

    asked = load([], ["steps=1"], {"plugins": ["-tensorboard"]})
    now = load([], ["steps=1"], {})
    observers = [name for name, item in now.chosen.items() if only_observes(item.cls)]
    assert observers == ["tensorboard"]
    record = read_record(create(asked, tmp_path / "runs", ["test"]))
    refuse_different(record, {name: item.entry.describe() for name, item in now.chosen.items()}, observers)
