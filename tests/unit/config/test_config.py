"""From files, `--set` and options to a resolved run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest
from dapoctl_dapo.losses import ClipHigher
from pydantic import BaseModel

from dapoctl import Component, UserError, hookimpl
from dapoctl.components.resolver import build_component
from dapoctl.config import RunConfig
from dapoctl.config.load import Layers, flatten, parse_override, read_toml, split_names
from dapoctl.config.resolve import OBSERVERS, Resolved, load
from dapoctl.errors import ConfigError
from tests.support.helpers import plugin_file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder without defaults of its own."""
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@pytest.fixture
def base(model: Path) -> Any:
    """`load` on top of that model."""

    def resolve(*texts: str, overrides: tuple[str, ...] = (), **options: Any) -> Resolved:
        files = []
        for index, text in enumerate(texts):
            files.append(model.parent / f"layer{index}.toml")
            files[-1].write_text(text, encoding="utf-8")
        return load(files, [f"model.path={str(model)!r}", *overrides], options)

    return resolve


# Layers


def test_defaults_make_a_run(base: Any) -> None:
    resolved = base()
    assert (resolved.config.task, resolved.config.engine, resolved.config.recipe) == ("arithmetic", "hf", "grpo")
    assert list(resolved.chosen) == ["uniform", "grpo", "clip", "sequence_mean", "arithmetic", "hf", *OBSERVERS]
    assert resolved.warnings == ()


@pytest.mark.parametrize("name", OBSERVERS)
def test_an_observer_can_be_left_out(base: Any, name: str) -> None:
    assert name in base().chosen
    assert name not in base(f"plugins = ['-{name}']\n").chosen


def test_files_merge_deeply_and_later_ones_win(base: Any) -> None:
    resolved = base(
        "steps = 10\nplugins = ['clip_higher']\n[rollout]\nprompts = 4\nsamples = 16\n[clip_higher]\neps_low = 0.1\n",
        "steps = 20\n[rollout]\nsamples = 2\n[clip_higher]\neps_high = 0.4\n",
        "[rollout]\ntop_p = 0.5\n",
    )
    assert resolved.config.steps == 20
    rollout = resolved.config.rollout
    assert (rollout.prompts, rollout.samples, rollout.top_p) == (4, 2, 0.5)
    component = resolved.pipeline.components["clip_higher"]
    assert isinstance(component, ClipHigher)
    assert (component.eps_low, component.eps_high) == (0.1, 0.4)


def test_lists_are_replaced_not_joined(base: Any) -> None:
    assert base("plugins = ['clip_higher']\n", "plugins = ['gkl']\n").config.plugins == ["gkl"]


def test_set_wins_over_files_and_options_over_both(base: Any) -> None:
    assert base("steps = 10\n", overrides=("steps=20",)).config.steps == 20
    assert base("steps = 10\n", overrides=("steps=20",), steps=30).config.steps == 30
    assert base("steps = 10\n", overrides=("steps=20",), steps=None).config.steps == 20


def test_the_last_set_wins(base: Any) -> None:
    assert base(overrides=("optim.lr=1e-5", "optim.lr=1e-4")).config.optim.lr == 1e-4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps=3", {"steps": 3}),
        ("optim.lr=1e-5", {"optim": {"lr": 1e-5}}),
        ("model.path=google/gemma-3-1b-it", {"model": {"path": "google/gemma-3-1b-it"}}),
        ("task = math", {"task": "math"}),
        ("name='3'", {"name": "3"}),
        ('name="a=b"', {"name": "a=b"}),
        ("plugins=['clip_higher', \"gkl\"]", {"plugins": ["clip_higher", "gkl"]}),
        ("train.gradient_checkpointing=true", {"train": {"gradient_checkpointing": True}}),
        ("gkl={gamma=1.0, norm='batch'}", {"gkl": {"gamma": 1.0, "norm": "batch"}}),
        ("clip_higher.eps_high=.3", {"clip_higher": {"eps_high": ".3"}}),
        ("name=", {"name": ""}),
    ],
)
def test_set_takes_toml_literals_and_bare_words(text: str, expected: dict[str, Any]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["steps", "=3", "optim.=3", ".lr=3", "a..b=1", ""])
def test_set_without_key_or_value_shows_the_form(text: str) -> None:
    with pytest.raises(ConfigError, match=r"the form is key=value, such as --set steps=3"):
        parse_override(text)


@pytest.mark.parametrize("text", ["name='half", 'name="half', "math.instruction='{problem}"])
def test_set_with_a_broken_literal(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a TOML literal; check its quotes and brackets"):
        parse_override(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugins=['gkl'", r"`plugins` = .* \(from --set\): must be a valid list \(it is not a TOML literal either"),
        ("steps={3", r"`steps` = '{3'.* \(it is not a TOML literal either: check its quotes and brackets\)"),
        ("optim.lr=[1e-3", r"`optim.lr` = '\[1e-3'.* \(it is not a TOML literal either"),
        ("clip={eps=}", "`clip` is a component, so it takes a table"),
        ("lora.targets=[q_proj", "'\\[q_proj' is not the name of a layer"),
    ],
)
def test_a_broken_literal_is_text_only_where_text_is_allowed(base: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        base(overrides=(text,))


@pytest.mark.parametrize("text", ["{problem}\\nAnswer:", "{problem}", "[INST] {problem} [/INST]", "{problem} = {x}"])
def test_text_may_begin_with_a_bracket(base: Any, text: str) -> None:
    resolved = base(overrides=("task=math", f"math.instruction={text}"))
    assert resolved.as_dict()["math"]["instruction"] == text


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), (["a,b", "c"], ["a", "b", "c"]), ([" a , ,b "], ["a", "b"]), (["-kl,x.py:Y"], ["-kl", "x.py:Y"])],
)
def test_lists_of_names_on_the_command_line(values: list[str], expected: list[str] | None) -> None:
    assert split_names(values) == expected


def test_model_is_short_for_its_path(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f"model = {str(model)!r}\n", encoding="utf-8")
    assert load([file]).config.model.path == str(model)
    assert load([], [f"model={str(model)!r}"]).config.model.path == str(model)
    assert load([], [], {"model": str(model)}).config.model.path == str(model)


def test_short_model_keeps_the_rest_of_its_table(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[model]\npath = 'elsewhere'\ndtype = 'float32'\n", encoding="utf-8")
    config = load([file], [], {"model": str(model)}).config
    assert (config.model.path, config.model.dtype) == (str(model), "float32")


def test_layers_remember_who_set_what() -> None:
    layers = Layers()
    layers.add({"steps": 1, "optim": {"lr": 1e-5, "beta1": 0.8}}, "a.toml")
    layers.add({"optim": {"lr": 1e-4}, "model": "x"}, "--set")
    assert layers.values == {"steps": 1, "optim": {"lr": 1e-4, "beta1": 0.8}, "model": {"path": "x"}}
    assert layers.sources["steps"] == layers.sources["optim.beta1"] == "a.toml"
    assert layers.sources["optim.lr"] == layers.sources["model.path"] == "--set"


# A model's own defaults


def test_model_defaults_come_first_and_later_layers_win(model: Path, base: Any) -> None:
    (model / "dapoctl.toml").write_text(
        "steps = 7\n[rollout]\nprompts = 3\nsamples = 5\n[optim]\nlr = 1e-3\n", encoding="utf-8"
    )
    config = base("[rollout]\nsamples = 6\n", overrides=("optim.lr=1e-4",)).config
    assert (config.steps, config.rollout.prompts, config.rollout.samples, config.optim.lr) == (7, 3, 6, 1e-4)


def test_model_defaults_are_named_in_messages(model: Path, base: Any) -> None:
    (model / "dapoctl.toml").write_text("steps = 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"`steps` = 0 \(from .*model/dapoctl\.toml\): must be greater than or equal"):
        base()


def test_malformed_model_defaults(model: Path, base: Any) -> None:
    (model / "dapoctl.toml").write_text("steps = \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the model's defaults `.*dapoctl\.toml` are not TOML"):
        base()


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stepss = 3",
            r"unknown key `stepss` \(from .*layer0\.toml\)\. Did you mean `steps`\? Known at the top: name, ",
        ),
        ("[rolout]\nprompts = 3", r"unknown table `rolout` \(from .*layer0\.toml\)\. Did you mean `rollout`\?"),
        ("[clip_higer]\neps_low = 0.1", r"unknown table `clip_higer` .*of the run's components: uniform, grpo, clip"),
        (
            "[optim]\nlrr = 1",
            r"unknown key `optim\.lrr` \(from .*layer0\.toml\)\. Did you mean `lr`\? Known here: lr, ",
        ),
        ("steps = 0", r"`steps` = 0 \(from .*layer0\.toml\): must be greater than or equal to 1$"),
        ("steps = 'many'", r"`steps` = 'many' \(from .*layer0\.toml\): must be a valid integer"),
        ("[optim]\nlr = -1.0", r"`optim\.lr` = -1\.0 \(from .*layer0\.toml\): must be greater than 0$"),
        ("[optim]\nlr = nan", r"`optim\.lr` = nan \(from .*layer0\.toml\): must be "),
        (
            "[model]\ndtype = 'int8'",
            r"`model\.dtype` = 'int8' \(from .*\): must be 'auto', 'float32', 'bfloat16' or 'float16'$",
        ),
        ("name = 'my run'", r"`name` = 'my run' \(from .*layer0\.toml\): must match pattern"),
        ("plugins = ['gkl', '']", r"`plugins` = \['gkl', ''\] \(from .*\): a component's name must not be empty$"),
        ("plugins = 'gkl'", r"`plugins` = 'gkl' \(from .*layer0\.toml\): must be a valid list$"),
        ("[eval]\nset = [3]", r"`eval\.set\.0` = 3 \(from .*layer0\.toml\): must be a valid string$"),
        ("gkl = 3", r"`gkl` = 3 \(from .*layer0\.toml\): `gkl` is a component, so it takes a table: \[gkl\]"),
        ("[components.gkl]\ncoef = 1.0", r"unknown table `components`"),
        ("[clip]\neps = 2.0", r"`clip\.eps` = 2\.0 \(from .*layer0\.toml\): must be less than 1$"),
        ("[clip]\nepss = 0.1", r"unknown key `clip\.epss` \(from .*layer0\.toml\)\. Did you mean `eps`\?"),
        ("task = 'gkl'", r"`task` = 'gkl': `gkl` does not provide score_response; choose one of: arithmetic"),
        (
            "engine = 'arithmetic'",
            r"`engine` = 'arithmetic': `arithmetic` does not provide build_engine; choose one of: hf",
        ),
        (
            "task = 'arithmetics'",
            r"`task` = 'arithmetics': unknown component `arithmetics`\. Did you mean `arithmetic`\?",
        ),
        ("recipe = 'dappo'", r"unknown recipe `dappo`\. Did you mean `dapo`\?"),
    ],
)
def test_mistake_in_a_file_names_key_value_origin_and_fix(base: Any, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        base(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepss=3", r"unknown key `stepss` \(from --set\)\. Did you mean `steps`\?"),
        ("steps=0", r"`steps` = 0 \(from --set\): must be greater than or equal to 1$"),
        ("clip.eps=x", r"`clip\.eps` = 'x' \(from --set\): must be a valid number"),
        ("clip.epps=0.1", r"unknown key `clip\.epps` \(from --set\)\. Did you mean `eps`\? Known here: eps\.$"),
        ("gkl.coef=0.1", r"`gkl` is not part of this run, so its parameters cannot be set; add it to --plugins"),
        ("gkk.coef=0.1", r"unknown table `gkk` \(from --set\)\."),
        ("gkl=3", r"`gkl` is a component, so it takes a table: \[gkl\] in a file, or --set gkl\.PARAMETER="),
    ],
)
def test_mistake_on_the_command_line(base: Any, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        base(overrides=(override,))


def test_model_that_is_no_text() -> None:
    with pytest.raises(ConfigError, match=r"`model` = 3 \(from --set\): must be "):
        load([], ["model=3"])


def test_every_mistake_is_told_at_once(base: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        base("steps = 0\nseed = -1\n[optim]\nlrr = 1\n")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert [any(key in line for line in lines) for key in ("`steps`", "`seed`", "`optim.lrr`")] == [True] * 3


def test_the_last_to_set_a_value_is_blamed(base: Any) -> None:
    with pytest.raises(ConfigError, match=r"`steps` = 0 \(from .*layer1\.toml\)"):
        base("steps = 5\n", "steps = 0\n", "[optim]\nlr = 1e-5\n")
    with pytest.raises(ConfigError, match=r"`steps` = 0 \(from the command line\)"):
        base("steps = 5\n", steps=0)


def test_missing_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file `.*absent\.toml`"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)
    file = tmp_path / "bad.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(file)
    file.write_text("steps = 3\nsteps = 4\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"`.*bad\.toml` is not TOML: .*line 2"):
        read_toml(file)


def test_table_of_a_component_that_is_not_in_the_run_is_a_warning(base: Any) -> None:
    resolved = base("[gkl]\ncoef = 0.1\n[kl]\ncoef = 0.2\n")
    assert len(resolved.warnings) == 2
    for name, warning in zip(("gkl", "kl"), resolved.warnings, strict=True):
        assert warning.startswith(f"[{name}] in ")
        assert warning.endswith(f"layer0.toml has no effect: `{name}` is not part of this run")


def test_the_same_table_is_an_error_once_it_is_typed_by_hand(base: Any) -> None:
    with pytest.raises(ConfigError, match="`gkl` is not part of this run"):
        base("[gkl]\ncoef = 0.1\n", overrides=("gkl.gamma=1.0",))


# Checks against the run


def test_groups_of_one_with_grpo(base: Any) -> None:
    with pytest.raises(UserError, match=r"`rollout\.samples` = 1: `grpo` compares .*at least 2"):
        base("[rollout]\nsamples = 1\n")


@pytest.mark.parametrize("plugin", ["dr_grpo", "rloo"])
def test_groups_of_one_name_the_component_in_question(base: Any, plugin: str) -> None:
    with pytest.raises(UserError, match=rf"`{plugin}` compares"):
        base(f"plugins = ['{plugin}']\n[rollout]\nsamples = 1\n")


def test_overlong_buffer_past_the_limit(base: Any) -> None:
    text = "plugins = ['overlong']\n[rollout]\nmax_response_tokens = 64\n[overlong]\nbuffer = {}\n"
    assert base(text.format(64)).pipeline.components["overlong"].model_dump()["buffer"] == 64
    with pytest.raises(
        UserError, match=r"`overlong\.buffer` = 65: must be at most `rollout\.max_response_tokens` = 64"
    ):
        base(text.format(65))


# None


class Inner(BaseModel):
    """A table inside a component's."""

    stop: int | None = 5


class Optional(Component):
    """A component whose parameters may be none."""

    cap: int | None = 7
    mode: Literal["none", "all"] | None = None
    inner: Inner = Inner()

    @hookimpl
    def shape_rewards(self, batch: Any) -> Any:
        return batch.rewards


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, (7, None, 5)),
        ({"cap": "none"}, (None, None, 5)),
        ({"mode": "none"}, (7, "none", 5)),
        ({"inner": {"stop": "none"}}, (7, None, None)),
    ],
)
def test_the_word_for_none(table: dict[str, Any], expected: tuple[object, ...]) -> None:
    component = build_component("optional", Optional, table)
    assert isinstance(component, Optional)
    assert (component.cap, component.mode, component.inner.stop) == expected


def test_what_is_none_against_its_default_stays_so(model: Path, base: Any, tmp_path: Path) -> None:
    (model / "dapoctl.toml").write_text("[train]\nthreads = 3\n")
    source = """
        from dapoctl import Component, hookimpl
        class Capped(Component):
            cap: int | None = 7
            floor: int | None = None
            @hookimpl
            def shape_rewards(self, batch):
                return batch.rewards
    """
    word = f"{plugin_file(tmp_path, source)}:Capped"
    assert base().config.train.threads == 3
    resolved = base(overrides=("train.threads=none", "capped.cap=none", f"plugins=[{word!r}]"))
    assert resolved.config.train.threads is None
    assert resolved.as_dict()["train"]["threads"] == "none"
    assert resolved.as_dict()["capped"] == {"cap": "none"}
    file = tmp_path / "again.toml"
    file.write_text(resolved.as_toml(), encoding="utf-8")
    again = load([file])
    assert again.config == resolved.config
    assert again.pipeline.components["capped"].model_dump() == {"cap": None, "floor": None}


# The resolved run


def test_resolved_run_as_toml_resolves_to_itself(base: Any, tmp_path: Path) -> None:
    resolved = base(
        "recipe = 'dapo'\nplugins = ['gkl', '-overlong']\nname = 'ladder.1'\n[optim]\nlr = 3e-7\nupdates = 2\n",
        overrides=("gkl.gamma=0.25", "clip_higher.dual_clip=10", "eval.set=['arithmetic']"),
    )
    text = resolved.as_toml()
    file = tmp_path / "again.toml"
    file.write_text(text, encoding="utf-8")
    again = load([file])
    assert again.config == resolved.config
    assert again.as_toml() == text
    assert again.warnings == ()
    assert list(again.chosen) == list(resolved.chosen)


def test_resolved_run_holds_every_parameter(base: Any) -> None:
    values = base("plugins = ['clip_higher', 'gkl']\n").as_dict()
    assert values["clip_higher"] == {"eps_low": 0.2, "eps_high": 0.28}
    assert values["gkl"]["weight_temperature"] == 1.0
    assert values["rollout"]["samples"] == 8
    assert "components" not in values
    assert "uniform" not in values
    assert tomllib.loads(base("plugins = ['clip_higher', 'gkl']\n").as_toml()) == values


def test_flatten_leaves_out_what_is_not_set() -> None:
    values = flatten(RunConfig(components={"overlong": {"buffer": None, "factor": 1.0}, "uniform": {}}))
    assert "name" not in values
    assert values["overlong"] == {"factor": 1.0}
    assert "uniform" not in values
