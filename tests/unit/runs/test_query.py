"""`runs list --filter`: what each query selects, and what it says of those that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from dapoctl.config.sweep import expand, parse_axis, run_names
from dapoctl.errors import ConfigError, UserError
from dapoctl.runs.query import select
from dapoctl.runs.summary import RunSummary


def run(name: str, state: str = "finished", **more: object) -> RunSummary:
    values = {"created": 1_764_000_000.0, "spec": {"config": {"optim": {"lr": 1e-5}, "seed": 1, "task": "math"}}} | more
    return RunSummary(f"20260101-000000-{name}-abcd", Path(name), name=name, state=state, **values)  # type: ignore[arg-type]


RUNS = [
    run(
        "a", components=("gkl", "grpo"), metrics={"eval/aime24/avg@8": 0.2, "eval/aime24/avg@32": 0.1, "reward/mean": 1}
    ),
    run("b", "failed", components=("grpo", "clip"), tags=("baseline",), metrics={"eval/aime24/avg@32": 0.3}),
    run(
        "c",
        "running",
        components=("gkl", "clip"),
        spec={"config": {"optim": {"lr": 1e-4}, "seed": 2, "task": "arithmetic"}},
    ),
    run("d", components=("kl",), group="sweep-1", note="the good one", metrics={"reward/mean": float("nan")}),
]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("gkl", "ac"),
        ("not gkl", "bd"),
        ("gkl and state=finished", "a"),
        ("state = finished or failed", "abd"),
        ("(gkl or kl) and finished", "ad"),
        ("not (gkl or kl)", "b"),
        ("not gkl and not kl", "b"),
        ("baseline", "b"),
        ("tag=baseline", "b"),
        ("tag!=baseline", "acd"),
        ("component=clip", "bc"),
        ("state!=finished", "bc"),
        ("eval.aime24.avg>0.1", "b"),
        ("eval.aime24.avg>=0.1", "ab"),
        ("eval.aime24.avg@8>0.1", "a"),
        ("eval/aime24/avg@32<0.2", "a"),
        ("reward.mean>0", "a"),
        ("reward.mean<=100", "a"),
        ("optim.lr=1e-5", "abd"),
        ("optim.lr=0.00001", "abd"),
        ("optim.lr>0.00005", "c"),
        ("seed=2 and task=arithmetic", "c"),
        ("task~MAT", "abd"),
        ("group=sweep-1", "d"),
        ('note~"good one"', "d"),
        ("created>2025-01-01", "abcd"),
        ("created<2025-01-01", ""),
        ("-c-", "c"),
        ("nothing-like-it", ""),
    ],
)
def test_what_a_query_selects(query: str, names: str) -> None:
    assert "".join(found.name for found in select(RUNS, query)) == names


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "something to ask for is missing"),
        ("gkl and", "something to ask for is missing"),
        ("and gkl", "something to ask for is missing"),
        ("(gkl", "`)` is missing"),
        ("gkl)", "`)` was not expected here"),
        ("state=", "a value after `state =` is missing"),
        ("state finished", "`finished` was not expected here"),
        ('name="open', "nothing can be made of"),
        ("stat=finished", "Did you mean `state`?"),
        ("eval.aime24.avgg>0.1", "Did you mean `eval.aime24.avg`?"),
    ],
)
def test_queries_that_make_no_sense(query: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        select(RUNS, query)
    assert words in str(error.value)
    assert "--filter" in str(error.value)


def test_axes_and_their_points() -> None:
    axes = [parse_axis("clip_higher.eps_high=0.2,0.28"), parse_axis("seed=1,2")]
    points = expand(axes)
    assert [point.overrides for point in points] == [
        ("clip_higher.eps_high=0.2", "seed=1"),
        ("clip_higher.eps_high=0.2", "seed=2"),
        ("clip_higher.eps_high=0.28", "seed=1"),
        ("clip_higher.eps_high=0.28", "seed=2"),
    ]
    assert run_names("dapo", points)[0] == "dapo-eps_high0.2-seed1"
    assert parse_axis('math.instruction="a, b","c"').values == ('"a, b"', '"c"')
    assert parse_axis("eval.set=['a','b'],[]").values == ("['a','b']", "[]")
    assert run_names("x", expand([parse_axis("optim.lr=1e-6,-1")])) == ["x-lr1e-6", "x-lr-1"]


def test_names_stay_apart_when_they_are_cut() -> None:
    points = expand([parse_axis(f"math.instruction={'x' * 80}a,{'x' * 80}b")])
    names = run_names("base", points)
    assert len({*names}) == 2
    assert max(map(len, names)) <= 60


@pytest.mark.parametrize("text", ["seed", "seed=", "=1", "seed=1,,2", "seed=1,1"])
def test_axes_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="--axis"):
        parse_axis(text)


def test_an_axis_given_twice() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        expand([parse_axis("seed=1"), parse_axis("seed=2")])
