"""A run in the background trains with what was asked, as the same run in front does: it needs the supervisor's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dapoctl.runs.files import read_lines
from tests.support.background import Store, wait_for_state
from tests.support.helpers import plugin_file

TWO = '''
    """Two ideas in a file."""
    from dapoctl import Component, hookimpl

    class LenA(Component):
        """A cost per token."""
        @hookimpl
        def shape_rewards(self, batch):
            return -0.01 * batch.lengths

    class LenB(Component):
        """A constant."""
        by: float = 1.0
        @hookimpl
        def shape_rewards(self, batch):
            return batch.rewards * 0 - self.by
'''
ONE_STEP = (
    "steps=1",
    "rollout.prompts=2",
    "rollout.samples=2",
    "rollout.max_response_tokens=16",
    "eval.every=0",
    "len_b.by=5",
)


@pytest.mark.slow
@pytest.mark.process
def test_in_the_background_as_in_front(tmp_path: Path) -> None:
    place = tmp_path / "my.pyenv"
    place.mkdir()
    plugin_file(place, TWO, "len.py")
    store = Store(tmp_path)
    rewards = {}
    for way in ((), ("--detach",), ("--queue",)):
        asked = ("--plugins", "./my.pyenv/len.py:LenA,./my.pyenv/len.py:LenB", *way)
        directory = tmp_path / store.run(*asked, settings=ONE_STEP)
        wait_for_state(directory, "finished")
        (metrics,) = [row["metrics"] for row in read_lines(directory / "metrics.jsonl") if row.get("step") == 1]
        rewards[way] = {name: value for name, value in metrics.items() if name.startswith("reward/")}
        assert rewards[way]["reward/len_b"] == -5
        assert rewards[way]["reward/len_a"] < 0
    assert rewards[()] == rewards["--detach",] == rewards["--queue",]
