"""From names to a pipeline: what a run is made of, and every way in which that can go wrong."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from dapoctl_dapo.losses import ClipHigher
from dapoctl_dapo.overlong import Overlong
from dapoctl_gkl.gkl import Gkl
from dapoctl_grpo.advantages import Grpo

from dapoctl import Component, PluginError, UserError, hookimpl
from dapoctl.components.base import provided_by, stages_of
from dapoctl.components.catalog import installed
from dapoctl.components.pipeline import Pipeline
from dapoctl.components.resolver import build, choose, recipe_components
from dapoctl.errors import ConfigError, HookError
from tests.support.helpers import make_batch, plugin_file

EXTRA = ("arithmetic", "hf")


def names(plugins: Sequence[str] = (), recipe: str = "grpo") -> list[str]:
    return list(choose(recipe, plugins, EXTRA))


# What a run is made of


def test_base_recipe() -> None:
    assert names() == ["uniform", "grpo", "clip", "sequence_mean", *EXTRA]


def test_a_plugin_replaces_what_provides_its_stage_and_joins_elsewhere() -> None:
    assert names(["clip_higher", "gkl"]) == ["uniform", "grpo", "sequence_mean", "clip_higher", "gkl", *EXTRA]


def test_dapo_recipe_is_the_same_by_either_spelling() -> None:
    expected = {"uniform", "grpo", "clip_higher", "dynamic_sampling", "token_mean", "overlong", *EXTRA}
    assert set(names(recipe="dapo")) == set(names(["dapo"])) == expected
    assert set(recipe_components("dapo", installed())) == expected - set(EXTRA)


@pytest.mark.parametrize("plugins", [["dapo", "sequence_mean"], ["sequence_mean", "dapo"]])
def test_a_plugin_beside_a_recipe_replaces_its_part(plugins: list[str]) -> None:
    chosen = names(plugins)
    assert "sequence_mean" in chosen
    assert "token_mean" not in chosen
    assert {"clip_higher", "dynamic_sampling", "overlong"} <= set(chosen)
    assert set(names(["sequence_mean"], recipe="dapo")) == set(chosen)


def test_a_component_of_the_recipe_can_be_left_out() -> None:
    assert set(names(recipe="dapo")) - set(names(["-overlong"], recipe="dapo")) == {"overlong"}
    assert "overlong" not in names(["-overlong", "dapo"])
    assert names(["-clip", "clip_higher"]) == names(["clip_higher"])


def test_naming_a_part_of_the_recipe_changes_nothing() -> None:
    assert set(names(["clip", "clip"])) == set(names())


def test_the_order_of_plugins_does_not_change_results() -> None:
    plugins = ["overlong", "kl", "gkl", "clip_higher", "kl_full", "overlong_filter"]
    batch = make_batch([[1.0, -1.0, -1.0]], lengths=[16, 15, 3], truncated={0})
    logits, ref_logits = torch.arange(8.0).view(2, 4), torch.ones(2, 4)
    results = []
    for order in list(permutations(plugins))[::97]:
        pipeline = build(choose("grpo", order, EXTRA), {})
        results.append(
            {
                "components": set(pipeline.components),
                "terms": {k: v.tolist() for k, v in pipeline.each("shape_rewards", batch=batch).items()},
                "masks": {k: v.tolist() for k, v in pipeline.each("mask_responses", batch=batch).items()},
                "penalties": {
                    k: v.tolist()
                    for k, v in pipeline.each("regularize_vocab", logits=logits, ref_logits=ref_logits).items()
                },
            }
        )
    assert len(results) > 5
    assert all(result == results[0] for result in results)
    assert set(results[0]["penalties"]) == {"gkl", "kl_full"}


def test_parameters_and_origin_of_a_component() -> None:
    pipeline = build(choose("grpo", ["clip_higher"], EXTRA), {"clip_higher": {"eps_high": 0.3}})
    component = pipeline.components["clip_higher"]
    assert isinstance(component, ClipHigher)
    assert (component.name, component.eps_high, component.eps_low) == ("clip_higher", 0.3, 0.2)
    origin = pipeline.entries["clip_higher"].describe()
    assert origin["entry_point"] == "dapoctl_dapo.losses:ClipHigher"
    assert origin["distribution"] == "dapoctl"
    assert origin["version"]


# Mistakes in names


def test_two_providers_of_a_stage() -> None:
    with pytest.raises(PluginError, match="`rloo` and `dr_grpo` both provide estimate_advantages; choose one"):
        names(["rloo", "dr_grpo"])
    with pytest.raises(
        PluginError, match="`rloo` and `dr_grpo` and `grpo` all provide estimate_advantages; choose one"
    ):
        names(["rloo", "dr_grpo", "grpo"])


def test_no_provider_of_a_stage_names_those_there_are() -> None:
    with pytest.raises(
        PluginError, match="no component provides policy_loss; add one of: cispo, clip, clip_higher, gspo"
    ):
        names(["-clip"])


@pytest.mark.parametrize(("typed", "meant"), [("clip_highr", "clip_higher"), ("gkll", "gkl"), ("dappo", "dapo")])
def test_unknown_component_names_the_nearest_and_how_to_reinstall(typed: str, meant: str) -> None:
    with pytest.raises(PluginError, match=rf"unknown component `{typed}`\. Did you mean `{meant}`\?") as caught:
        names([typed])
    assert "pip install -e ." in str(caught.value)
    assert "./my_idea.py:MyIdea" in str(caught.value)


def test_unknown_component_that_is_like_nothing_lists_what_is_installed() -> None:
    with pytest.raises(PluginError, match=r"unknown component `zzzzzz`\. Installed: .*clip_higher") as caught:
        names(["zzzzzz"])
    assert "Did you mean" not in str(caught.value)


def test_unknown_recipe() -> None:
    with pytest.raises(PluginError, match=r"unknown recipe `dapoo`\. Did you mean `dapo`\? Installed: dapo, grpo"):
        names(recipe="dapoo")


def test_leaving_out_what_is_not_there() -> None:
    with pytest.raises(PluginError, match=r"`-clp` removes .*Did you mean `clip`\? It has: uniform, grpo, clip"):
        names(["-clp"])


def test_user_mistakes_have_exit_code_2() -> None:
    with pytest.raises(UserError) as caught:
        names(["zzzzzz"])
    assert caught.value.exit_code == 2


def test_unknown_parameter_names_the_nearest_and_all() -> None:
    with pytest.raises(
        ConfigError,
        match=r"unknown key `clip_higher\.eps_hihg`\. Did you mean `eps_high`\? Known here: eps_low, eps_high, dual_clip",
    ):
        build(choose("grpo", ["clip_higher"], EXTRA), {"clip_higher": {"eps_hihg": 0.3}})


def test_parameter_out_of_bounds() -> None:
    with pytest.raises(ConfigError, match=r"`gkl\.gamma` = 1\.5: must be less than or equal to 1$"):
        build(choose("grpo", ["gkl"], EXTRA), {"gkl": {"gamma": 1.5}})


def test_component_without_parameters_says_so() -> None:
    with pytest.raises(ConfigError, match=r"unknown key `sequence_mean\.x`\. It has no parameters"):
        build(choose("grpo", [], EXTRA), {"sequence_mean": {"x": 1}})


# Mistakes in a component


def test_hook_name_without_the_mark() -> None:
    class Forgot(Component):
        def shape_rewards(self, batch: Any) -> Any:
            return batch.rewards

    with pytest.raises(PluginError, match=r"`Forgot\.shape_rewards` has the name of a hook.*put @hookimpl above it"):
        stages_of(Forgot)


def test_mark_on_a_hook_that_does_not_exist() -> None:
    class Typo(Component):
        @hookimpl
        def shape_reward(self, batch: Any) -> Any:
            return batch.rewards

    with pytest.raises(PluginError, match=r"`Typo\.shape_reward` is a @hookimpl.*Did you mean `shape_rewards`\?"):
        stages_of(Typo)


def test_argument_that_the_hook_does_not_have() -> None:
    class Wrong(Component):
        @hookimpl
        def shape_rewards(self, rewards: Any) -> Any:
            return rewards

    with pytest.raises(PluginError, match=r"`Wrong\.shape_rewards` takes an argument `rewards`.*may take: batch"):
        stages_of(Wrong)


def test_argument_with_a_default() -> None:
    class Default(Component):
        @hookimpl
        def shape_rewards(self, batch: Any = None) -> Any:
            return batch.rewards

    with pytest.raises(PluginError, match=r"`Default\.shape_rewards`: argument `batch` has a default.*remove it"):
        stages_of(Default)


def test_component_without_a_hook(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "from dapoctl import Component\nclass Nothing(Component):\n    x: int = 1\n")
    with pytest.raises(
        PluginError,
        match=r"component `nothing` \(.*my_idea\.py:Nothing\) implements no hook; mark a method with @hookimpl",
    ):
        names([f"{path}:Nothing"])


def test_component_may_take_fewer_arguments_than_the_hook() -> None:
    """One that was written before the hook got its latest argument goes on working."""

    class Old(Component):
        @hookimpl
        def regularize_vocab(self, logits: Any) -> Any:
            return logits.sum(-1)

    result = Pipeline([Old()]).each("regularize_vocab", logits=torch.ones(2, 3), ref_logits=torch.zeros(2, 3))
    assert result["old"].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("hook", ["shape_rewards", "estimate_advantages"])
def test_hook_that_returns_none(hook: str) -> None:
    class Mute(Component):
        @hookimpl
        def shape_rewards(self, batch: Any) -> Any:
            batch.rewards.sum()

        @hookimpl
        def estimate_advantages(self, batch: Any) -> Any:
            batch.rewards.sum()

    pipeline = Pipeline([Mute()])
    call = pipeline.one if hook == "estimate_advantages" else pipeline.each
    with pytest.raises(HookError, match=rf"component `mute`, hook `{hook}` returned None; .*`return` missing"):
        call(hook, batch=make_batch([[1.0, 0.0]]))


@pytest.mark.parametrize("error", [ValueError("odd size"), PluginError("tokens.entropy was not computed")])
def test_exception_names_component_and_hook(error: Exception) -> None:
    class Broken(Component):
        @hookimpl
        def shape_rewards(self) -> Any:
            raise error

        @hookimpl
        def on_step_end(self) -> None:
            raise error

    pipeline = Pipeline([Overlong(), Broken()])
    with pytest.raises(HookError, match=rf"component `broken`, hook `shape_rewards`.*{error}") as caught:
        pipeline.each("shape_rewards", batch=make_batch([[1.0, 0.0]]))
    assert caught.value.__cause__ is error
    assert caught.value.exit_code == 1
    with pytest.raises(HookError, match=rf"component `broken`, hook `on_step_end`.*{error}"):
        pipeline.observe("on_step_end", step=1, metrics={})


def test_observers_may_return_nothing_and_get_every_call() -> None:
    seen = []

    class Watch(Component):
        @hookimpl
        def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
            seen.append((step, metrics))

    Pipeline([Watch(), Gkl()]).observe("on_step_end", step=3, metrics={"reward/mean": 0.5})
    assert seen == [(3, {"reward/mean": 0.5})]


class Doubled(Component):
    """Double the advantages, whoever estimates them."""

    fail: bool = False

    @hookimpl(wrapper=True)
    def estimate_advantages(self) -> Generator[None, Any, Any]:
        result = yield
        if self.fail:
            raise ValueError("no advantage")
        return 2 * result


def test_wrapper_changes_a_stage_without_providing_it() -> None:
    batch = make_batch([[1.0, 0.0]])
    plain = Pipeline([Grpo()]).one("estimate_advantages", batch=batch)
    for components in ([Grpo(), Doubled()], [Doubled(), Grpo()]):
        pipeline = Pipeline(components)
        assert pipeline.providers("estimate_advantages") == ["grpo"]
        assert torch.equal(pipeline.one("estimate_advantages", batch=batch), 2 * plain)


def test_wrapper_beside_the_recipe_keeps_the_recipe_s_provider(tmp_path: Path) -> None:
    path = plugin_file(
        tmp_path,
        """
        from dapoctl import Component, hookimpl

        class Halved(Component):
            @hookimpl(wrapper=True)
            def estimate_advantages(self):
                return (yield) / 2
        """,
    )
    chosen = choose("grpo", [str(path)], EXTRA)
    assert {"grpo", "halved"} <= set(chosen)
    assert chosen["halved"].stages == provided_by(chosen["halved"].cls) == ()
    batch = make_batch([[1.0, 0.0]])
    halved = build(chosen, {}).one("estimate_advantages", batch=batch)
    assert torch.equal(halved, Grpo().estimate_advantages(batch) / 2)


def test_exception_in_a_wrapper_names_the_wrapper_too() -> None:
    pipeline = Pipeline([Grpo(), Doubled(fail=True)])
    with pytest.raises(HookError, match=r"component `grpo`, hook `estimate_advantages` \(wrapped by `doubled`\)"):
        pipeline.one("estimate_advantages", batch=make_batch([[1.0, 0.0]]))


def test_every_component_of_a_stage_is_called_on_its_own() -> None:
    """Equal parameters do not make two components one."""
    first, second = Overlong(buffer=4), Overlong(buffer=4)
    first.attach("first")
    second.attach("second")
    terms = Pipeline([first, second]).each("shape_rewards", batch=make_batch([[1.0, 0.0]], lengths=[16, 1]))
    assert {name: term.tolist() for name, term in terms.items()} == {"first": [-1.0, 0.0], "second": [-1.0, 0.0]}


def test_state_goes_by_name() -> None:
    pipeline = build(choose("grpo", [], EXTRA), {})
    pipeline.load_state_dict({"uniform": {"taken": 7}})
    assert pipeline.state_dict()["uniform"] == {"taken": 7}
