"""A recipe's corrections join a run whose engine does not sample from the trainer's distribution, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dapoctl.cli import app
from dapoctl.components.catalog import installed
from dapoctl.config.load import Layers
from dapoctl.config.resolve import Resolved, load, resolve
from dapoctl.runs.jobs.create import create
from dapoctl.runs.summary import read_run
from tests.support.cli import Cli
from tests.support.places import ROOT

NAME = "truncated_importance"
assert app


def resolved(*settings: str, plugins: str = "") -> Resolved:
    return load([], settings, {"plugins": plugins.split(",") if plugins else []})


@pytest.mark.parametrize("settings", [(), ("vllm.dtype=bfloat16",), ("vllm.dtype=float32",), ("model.dtype=float32",)])
@pytest.mark.parametrize("plugins", ["", "dapo", "gspo", "clip_higher,gkl"])
def test_vllm_has_other_kernels(settings: tuple[str, ...], plugins: str) -> None:
    found = resolved("engine=vllm", *settings, plugins=plugins)
    assert NAME in found.pipeline.components
    assert found.added == (NAME,)
    assert "kernels" in found.why_added
    assert NAME not in found.asked_for
    assert found.config.plugins == (plugins.split(",") if plugins else [])


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("model.dtype=bfloat16",),
        ("engine=vllm", "vllm.dtype=float32", "model.dtype=float32"),
        ("engine=vllm", "train.device=cpu"),
    ],
)
def test_where_both_compute_the_same_nothing_is_added(settings: tuple[str, ...]) -> None:
    found = resolved(*settings)
    assert NAME not in found.pipeline.components
    assert (found.added, found.why_added) == ((), "")


def test_on_a_cpu_16_bits_are_enough_to_differ() -> None:
    assert resolved("engine=vllm", "train.device=cpu", "vllm.dtype=bfloat16").added == (NAME,)


def test_it_can_be_left_out_and_named() -> None:
    assert NAME not in resolved("engine=vllm", plugins=f"dapo,-{NAME}").pipeline.components
    named = resolved("engine=vllm", f"{NAME}.cap=3", plugins=NAME)
    assert named.added == ()
    assert named.pipeline.components[NAME].model_dump() == {"level": "token", "cap": 3.0}
    assert resolved("engine=vllm", f"{NAME}.cap=3").config.components[NAME]["cap"] == 3.0
    # Where it is not part of the run, leaving it out changes nothing, and a component of neither is still a mistake.
    assert NAME not in resolved(plugins=f"-{NAME}").pipeline.components
    with pytest.raises(Exception, match="`-gspo` removes a component that the recipe does not have"):
        resolved("engine=vllm", plugins="-gspo")


def test_a_recipe_without_corrections_and_an_engine_that_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from dapoctl import Component, hookimpl\n\n\nclass Mine(Component):\n    '''Samples.'''\n\n"
        "    @hookimpl\n    def build_engine(self, policy, config):\n        raise NotImplementedError\n"
    )
    assert resolved(f"engine={path}").added == ()
    path.write_text(path.read_text() + "\n    def mismatch(self, config):\n        return 'it rounds'\n")
    found = resolved(f"engine={path}")
    assert (found.added, found.why_added) == ((NAME,), "it rounds")


def test_the_record_has_it_and_is_final(tmp_path: Path) -> None:
    found = resolved("engine=vllm")
    run = read_run(create(found, tmp_path, ["test"]))
    assert run.spec["config"]["plugins"] == [NAME]
    assert run.name == "grpo"
    again = Layers()
    again.add(run.spec["config"], "its record")
    assert {*resolve(again, recorded=True).pipeline.components} == {*found.pipeline.components}
    # A run of a version that added nothing goes on without.
    older: dict[str, Any] = {**run.spec["config"], "plugins": []}
    del older[NAME]
    layers = Layers()
    layers.add(older, "its record")
    assert NAME not in resolve(layers, recorded=True).pipeline.components


def test_it_is_said(cli: Cli) -> None:
    done = cli("run", "--set", "engine=vllm", "--dry-run")
    assert f"{NAME} corrects for the engine: vLLM's kernels round" in done.stderr
    assert f"--plugins -{NAME} leaves it out" in done.stderr
    assert NAME not in cli("run", "--dry-run").stderr
    page = cli("plugins", "show", "dapo").stdout
    assert "Added where the engine differs" in page
    assert NAME in page


def test_files_of_the_case_study_say_what_they_do() -> None:
    """The plans for a GPU have the correction; the one that was run without says so."""
    assert NAME in installed().names()
    for path in (ROOT / "experiments").glob("gemma3-4b-*.toml"):
        assert NAME in load([path]).pipeline.components, path
