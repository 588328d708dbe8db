"""Components that change nothing in a run say so before it begins, with what to set; those that act say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dapoctl.components.catalog import installed
from dapoctl.components.resolver import idle_on
from dapoctl.config.resolve import load
from dapoctl.errors import PluginError
from tests.support.broken import train
from tests.support.helpers import plugin_file

ONE = "with `optim.updates` = 1"
ROWS = [
    (["clip_higher"], [], "clip_higher", [ONE, "every ratio is 1", "set optim.updates to 2 or more"]),
    (["clip_higher"], ["optim.updates=2", "rollout.prompts=1"], "clip_higher", ["with `rollout.prompts` = 1"]),
    (["gspo"], [], "gspo", [ONE]),
    (["cispo"], [], "cispo", [ONE]),
    ([], ["clip.eps=0.3"], "clip", [ONE]),
    (["truncated_importance"], ["train.device=cpu"], "truncated_importance", ["every weight is 1", "vllm"]),
    (["overlong"], ["overlong.factor=0"], "overlong", ["`overlong.factor` = 0"]),
    (
        ["dynamic_sampling"],
        ["dynamic_sampling.max_rounds=1"],
        "dynamic_sampling",
        ["`dynamic_sampling.max_rounds` = 1"],
    ),
    (["accuracy_range"], ["accuracy_range.max_rounds=1"], "accuracy_range", ["`accuracy_range.max_rounds` = 1"]),
    (
        ["zero_variance_mask", "dynamic_sampling"],
        [],
        "zero_variance_mask",
        ["`dynamic_sampling` leaves out the groups"],
    ),
    (["kl"], ["kl.coef=0"], "kl", ["`kl.coef` = 0", "set it above 0"]),
    (["kl_full"], ["kl_full.coef=0"], "kl_full", ["`kl_full.coef` = 0"]),
    (["entropy_bonus"], ["entropy_bonus.coef=0"], "entropy_bonus", ["`entropy_bonus.coef` = 0"]),
    (["gkl"], ["gkl.coef=0"], "gkl", ["`gkl.coef` = 0"]),
    (["gkl"], ["gkl.alpha=0", "gkl.beta=0"], "gkl", ["`gkl.alpha` and `gkl.beta` = 0", "set one above 0"]),
]


@pytest.mark.parametrize(("plugins", "settings", "name", "words"), ROWS)
def test_what_does_not_act_is_told(plugins: list[str], settings: list[str], name: str, words: list[str]) -> None:
    (warning,) = load([], settings, {"plugins": plugins}).warnings
    assert warning.startswith(f"`{name}` does not act in this run: ")
    for word in words:
        assert word in warning


@pytest.mark.parametrize(
    ("plugins", "settings"),
    [
        ([], []),
        ([], ["clip.eps=0.2"]),
        (["clip_higher", "gspo"][:1], ["optim.updates=2"]),
        (["clip_higher", "dynamic_sampling"], ["dynamic_sampling.max_staleness=1"]),
        (["truncated_importance"], []),
        (["truncated_importance"], ["train.device=cpu", "rollout.top_p=0.9"]),
        (["zero_variance_mask"], []),
        (["gkl"], ["gkl.alpha=0"]),
    ],
)
def test_what_acts_says_nothing(plugins: list[str], settings: list[str]) -> None:
    assert load([], settings, {"plugins": plugins}).warnings == ()


def test_every_shipped_component_acts_where_there_is_something_to_act_on() -> None:
    names = [entry.name for entry in installed().entries() if entry.distribution == "dapoctl"]
    assert len(names) > 20
    for name in names:
        if name in ("wandb", "trackio", "vllm", "math"):
            continue
        assert load([], ["optim.updates=2"], {"plugins": [name]}).warnings == (), name


def test_a_component_of_ones_own_may_say_so(tmp_path: Path) -> None:
    file = plugin_file(
        tmp_path,
        '''
        from dapoctl import Component, hookimpl

        class Late(Component):
            """Comes late."""
            after: int = 100
            def cannot_act(self, config):
                if self.after < 0:
                    raise RuntimeError("before the beginning")
                return f"`late.after` = {self.after}: there are {config.steps} steps" if self.after >= config.steps else ""
            @hookimpl
            def shape_rewards(self, batch):
                return batch.rewards * 0
        ''',
    )
    plugins = {"plugins": [str(file)]}
    assert load([], ["steps=50"], plugins).warnings == (
        "`late` does not act in this run: `late.after` = 100: there are 50 steps",
    )
    assert load([], ["steps=101"], plugins).warnings == ()
    with pytest.raises(PluginError, match="component `late`, `cannot_act` raised RuntimeError: before the beginning"):
        load([], ["late.after=-1"], plugins)


@pytest.mark.parametrize("name", ["thompson", "difficulty_pools"])
def test_what_goes_by_earlier_visits_needs_prompts_that_come_back(name: str) -> None:
    resolved = load([], ["steps=60", "rollout.prompts=24"], {"plugins": [name]})
    # 1,440 draws: two for each of 720 problems.
    assert idle_on(resolved.pipeline, resolved.config, resolved.asked_for, 720) == []
    (warning,) = idle_on(resolved.pipeline, resolved.config, resolved.asked_for, 4096)
    assert warning == (
        f"`{name}` does not act in this run: `{name}` goes by what became of earlier visits to a prompt, and 1,440 draws from"
        " 4,096 problems visit each 0.4 times; take at most 720 problems, or raise `steps`"
    )


def test_a_run_says_so_once_its_problems_are_loaded(tmp_path: Path) -> None:
    for size, warned in ((64, True), (4, False)):
        done = train(tmp_path, "thompson", "steps=4", f"arithmetic.train_size={size}")
        assert done.returncode == 0, done.stderr
        assert ("`thompson` does not act in this run" in done.stderr) is warned
