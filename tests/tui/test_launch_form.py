"""The launch form's model: fields from schemas, values, and the command line that says the same.

Slow: 470 more forms filled in at random.
"""

from __future__ import annotations

import itertools
import json
import random
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dapoctl.cli import app
from dapoctl.components.catalog import installed
from dapoctl.config.load import parse_override
from dapoctl.config.resolve import Resolved
from dapoctl.config.toml_literals import literal, override
from dapoctl.tui.launch.form.choice import Choice
from dapoctl.tui.launch.form.command_line import arguments, spelled
from dapoctl.tui.launch.form.fields import MISSING, Field, Sheet, run_sheet
from dapoctl.tui.launch.form.texts import read, same, show
from dapoctl.tui.launch.form.verdict import Verdict, examine
from tests.support.launch_screen import HOSTILE, every_kind

NUMBERS = (0, 1, 2, 3, 7, 64, -1, 10**6, 0.0, -0.25, 0.5, 0.3, 1e-7, 5e-324, 1.5, 1e22, -0.0, 1 / 3)


def by_key(verdict: Verdict) -> dict[str, tuple[Field, Sheet]]:
    return {of.key: (of, sheet) for sheet in verdict.sheets for of in sheet.fields}


@pytest.fixture(scope="module")
def word(tmp_path_factory: pytest.TempPathFactory) -> str:
    return every_kind(tmp_path_factory.mktemp("ideas") / "a folder, with 'quotes' and ü")


@pytest.fixture(scope="module")
def everything(word: str) -> Verdict:
    verdict = examine(Choice(plugins=[word]))
    assert verdict.problems == ()
    return verdict


# Fields


def test_a_third_party_s_parameters_become_fields(everything: Verdict) -> None:
    found = {key: of for key, (of, _) in by_key(everything).items() if key.startswith("every_kind.")}
    kinds = {key.removeprefix("every_kind."): (of.kind, of.optional, of.default) for key, of in found.items()}
    assert kinds == {
        "shape": ("choice", False, "linear"),
        "mode": ("choice", False, "soft"),
        "order": ("choice", False, 2),
        "strict": ("bool", False, False),
        "maybe": ("choice", True, None),
        "rate": ("float", False, 0.5),
        "limit": ("int", True, None),
        "cap": ("int", True, 7),
        "words": ("list", False, ["a"]),
        "weights": ("list", False, []),
        "note": ("text", False, "x"),
        "remark": ("text", True, "hm"),
        "table": ("any", False, {}),
        "either": ("any", False, 3),
        "window.first": ("int", False, 2),
        "window.width": ("float", False, 1.0),
        "window.label": ("text", False, "the middle"),
        "window.stop": ("int", True, 5),
    }
    assert found["every_kind.shape"].choices == ("linear", "square root")
    assert found["every_kind.maybe"].choices == (True, False, None)
    assert found["every_kind.rate"].hint == "float, >= -1, < 2"
    assert found["every_kind.limit"].hint == "int | none, >= 1, <= 99"
    assert found["every_kind.rate"].meaning == "Reward per token."
    assert found["every_kind.window.first"].meaning == "Where it begins."


def test_every_setting_of_a_run_is_a_field() -> None:
    keys = {of.key for of in run_sheet().fields}
    from dapoctl.config.schema import TABLES, RunConfig

    for name, field in RunConfig.model_fields.items():
        if name in TABLES:
            assert {f"{name}.{inner}" for inner in type(field.default).model_fields} <= keys
        else:
            assert (name in keys) != (name in ("recipe", "plugins", "components"))
    assert all(of.meaning for of in run_sheet().fields)


def test_the_model_s_defaults_are_the_form_s() -> None:
    tiny = tomllib.loads((Path(sys.modules["dapoctl"].__file__ or "").parent / "models/tiny/dapoctl.toml").read_text())
    choice = Choice()
    verdict = examine(choice)
    assert choice.value(by_key(verdict)["optim.lr"][0]) == tiny["optim"]["lr"] != 1e-6
    other = Choice(values={"model": {"path": "./nowhere"}})
    verdict = examine(other)
    assert other.value(by_key(verdict)["optim.lr"][0]) == 1e-6


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("steps", "3", 3), ("steps", "1e3", 1000), ("steps", "", MISSING), ("optim.lr", ".5", 0.5), ("optim.lr", "2", 2.0),
        ("name", "", None), ("name", "none", None), ("eval.set", "aime24, math500,", ["aime24", "math500"]),
        ("eval.set", "", []), ("eval.set", "['a,b']", ["a,b"]), ("train.threads", "none", None), ("model.path", "3", "3"),
        ("model.path", "' 3 '", " 3 "), ("every_kind.words", "x, 3", ["x", "3"]), ("every_kind.weights", "1, .5", [1.0, 0.5]),
        ("every_kind.maybe", "none", None), ("every_kind.maybe", "true", True), ("every_kind.mode", "none", "none"),
        ("every_kind.order", "4", 4), ("every_kind.table", "{a = 1.5}", {"a": 1.5}), ("every_kind.either", "a b", "a b"),
        ("every_kind.either", "4", 4), ("every_kind.note", "", ""), ("every_kind.remark", "", None),
    ],
)  # fmt: skip
def test_what_is_typed(everything: Verdict, key: str, text: str, value: Any) -> None:
    assert same(read(by_key(everything)[key][0], text), value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("steps", "0", "must be greater than or equal to 1"),
        ("steps", "many", "must be a valid integer, unable to parse string as an integer"),
        ("steps", "1.5", "must be a valid integer, got a number with a fractional part"),
        ("optim.lr", "nan", "must be a finite number"),
        ("name", "a b", "must match pattern '^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$'"),
        ("train.device", "tpu", "must match pattern '^(auto|cpu|cuda(:\\d+)?)$'"),
        ("eval.scorer", "mine", "must be 'math', 'math_lenient', 'dapo', 'dapo_boxed' or 'strict'"),
        ("every_kind.rate", "2", "must be less than 2"),
        ("every_kind.limit", "100", "must be less than or equal to 99"),
        ("every_kind.words", "ok, hey!", "no shouting, please"),
        ("every_kind.window.width", "-1", "must be greater than 0"),
        ("every_kind.mode", "loud", "must be 'soft', 'hard' or 'none'"),
    ],
)
def test_a_wrong_value_is_refused_in_the_validator_s_words(
    everything: Verdict, key: str, text: str, message: str
) -> None:
    of, sheet = by_key(everything)[key]
    assert Choice().refusal(of, read(of, text), sheet) == message


def test_shown_text_is_read_back(everything: Verdict) -> None:
    for of, _ in by_key(everything).values():
        for value in candidates(of, random.Random(of.key), 60):
            assert same(read(of, show(of, value)), value) or of.kind == "float", (of.key, value)
            assert show(of, value).isprintable()


# The command line


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_can_be_said(text: str) -> None:
    said = override("math.marker", text)
    assert said.isprintable()
    assert parse_override(said) == {"math": {"marker": text}}
    assert parse_override(override("a.b", {"k e": [text]})) == {"a": {"b": {"k e": [text]}}}
    assert tomllib.loads(f"v = {literal(text)}") == {"v": text}


def cli(words: list[str]) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words[1:], "--dry-run", "--json"])
    assert done.exit_code == 0, (words, done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def candidates(of: Field, rng: random.Random, count: int) -> Iterator[Any]:
    """Values that a field of this kind might take; its class knows better."""
    for _ in range(count):
        if of.optional and rng.random() < 0.2:
            yield None
        elif of.kind == "bool":
            yield rng.random() < 0.5
        elif of.kind == "choice":
            yield rng.choice([choice for choice in of.choices if choice is not None])
        elif of.kind == "int":
            yield rng.choice([number for number in NUMBERS if isinstance(number, int)])
        elif of.kind == "float":
            yield rng.choice([float(number) for number in NUMBERS])
        elif of.kind == "text":
            text = rng.choice(HOSTILE)
            yield "x" if of.optional and text == "none" else text
        elif of.kind == "list":
            pool: list[Any] = [float(n) for n in NUMBERS] if of.item == "float" else list(HOSTILE)
            yield rng.sample(pool, rng.randrange(4))
        else:
            yield rng.choice([3, "a=b", "it's", {"a": 0.5}, {"k e=y": 1e-7, "'": -2.0}, {}])


def a_form(rng: random.Random, word: str) -> tuple[Choice, Verdict]:
    """A form as somebody might fill it in, that resolves."""
    names = installed().names()
    while True:
        plugins = rng.sample([*names, word, "-tensorboard", "dapo"], rng.randrange(6))
        choice = Choice(rng.choice(installed().recipes()), plugins)
        verdict = examine(choice)
        if not verdict.problems:
            break
    for of, sheet in by_key(verdict).values():
        if rng.random() < 0.3 and of.key not in ("model.path", "task", "engine"):
            for value in candidates(of, rng, 3):
                if not choice.refusal(of, value, sheet):
                    choice.put(of, value)
    return choice, examine(choice)


def seen(resolved: Resolved, of: Field) -> Any:
    table: Any = resolved.pipeline.components.get(of.path[0], resolved.config)
    for part in of.path if table is resolved.config else of.path[1:]:
        table = getattr(table, part)
    return table.value if hasattr(table, "value") else table


@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(12, 500), marks=pytest.mark.slow)], ids=len)
def test_the_line_says_what_the_form_says(word: str, seeds: range) -> None:
    resolved, said = 0, 0
    for seed in seeds:
        choice, verdict = a_form(random.Random(seed), word)
        line = spelled(arguments(choice, verdict.sheets))
        assert line.isprintable()
        assert shlex.split(line) == arguments(choice, verdict.sheets)
        if verdict.resolved is None:
            # A component that refuses the whole does so from the shell too.
            done = CliRunner().invoke(app, [*shlex.split(line)[1:], "--dry-run"])
            assert done.exit_code == 1
            assert "".join(str(done.exception).split()) == "".join(
                verdict.problems[0].replace("the form", "--set").split()
            )
            continue
        assert cli(shlex.split(line)) == verdict.resolved.as_dict(), line
        for of, _ in by_key(verdict).values():
            said += choice.is_changed(of)
            assert seen(verdict.resolved, of) == choice.value(of), (of.key, line)
        resolved += 1
    assert resolved > len(seeds) / 2
    assert said > 3 * len(seeds)


@pytest.mark.process
@pytest.mark.slow
def test_the_line_through_a_real_shell(word: str) -> None:
    """Slow: three shells, each with a Python that resolves a run."""
    forms = (a_form(random.Random(seed), word) for seed in itertools.count(500))
    for choice, verdict in itertools.islice((form for form in forms if form[1].resolved), 3):
        assert verdict.resolved is not None
        line = spelled(arguments(choice, verdict.sheets)).replace("dapoctl", f"{sys.executable} -m dapoctl", 1)
        done = subprocess.run(
            ["bash", "-c", f"{line} --dry-run --json"], capture_output=True, text=True, check=True, timeout=120
        )
        assert json.loads(done.stdout) == verdict.resolved.as_dict()
