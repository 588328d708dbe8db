"""The ablation matrix: how runs are grouped, and an interval that accounts for seeds and problems."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from dapoctl.errors import UserError
from dapoctl.evaluation.compare.ablation import Ablation, ablate, effect, group
from dapoctl.evaluation.statistics.intervals import difference_intervals
from dapoctl.evaluation.stored import Evaluation, open_evaluation
from dapoctl.views import ablation, tables
from tests.support.cli import on_store as dapoctl
from tests.support.evaluations import counted, evaluate, make_run, rows_of

BASE = [0, 0, 1, 2, 4, 3, 0, 1]
WIDER = {"grpo": {}, "clip_wider": {}}


def add(root: Path, day: int, name: str, counts: list[int], **changed: Any) -> Evaluation:
    """The evaluation of a new run; the last four letters of its id are the day."""
    run = make_run(root, f"202601{day:02}-000000-{name}-r0{day:02}", **changed)
    evaluate(run, rows_of(counted(counts), 4))
    return open_evaluation(root, run.name, "aime24")


@pytest.fixture
def found(tmp_path: Path) -> list[Evaluation]:
    """The baseline with three seeds, clip_wider with two, another learning rate with one."""
    runs = [add(tmp_path, 1 + seed, "base", BASE, config={"seed": seed, "name": f"n{seed}"}) for seed in range(2)]
    runs.append(add(tmp_path, 3, "base", [1, 0, 1, 2, 4, 3, 0, 1], config={"seed": 2}))
    runs += [
        add(tmp_path, 4 + seed, "wider", [2, 1, 3, 2 + seed, 4, 4, 1, 3], config={"seed": seed}, pipeline=WIDER)
        for seed in range(2)
    ]
    runs.append(add(tmp_path, 6, "faster", BASE, config={"optim": {"lr": 1e-5}}))
    return runs


def test_runs_that_differ_in_seed_and_name_are_one_arm(found: list[Evaluation]) -> None:
    arms, twice = group(found)
    assert [len(arm.evaluations) for arm in arms] == [3, 2, 1]
    assert [arm.seeds for arm in arms] == [(0, 1, 2), (0, 1), (0,)]
    assert twice == []


def test_of_two_runs_with_one_seed_the_later_counts(found: list[Evaluation], tmp_path: Path) -> None:
    again = add(tmp_path, 9, "base", BASE, config={"seed": 1})
    arms, twice = group([again, *found])
    assert [each.run.id[-4:] for each in arms[0].evaluations] == ["r001", "r009", "r003"]
    assert twice == [(found[1].name, f"{again.name} is a later run of the same seed")]


@pytest.mark.parametrize("later", [True, False])
def test_the_baseline_that_is_named_stays_beside_another_run_of_its_seed(
    later: bool, found: list[Evaluation], tmp_path: Path
) -> None:
    """Seven runs, of which two are of the baseline's seed: the named one counts, and the other is named."""
    again = add(tmp_path, 9, "base", BASE, config={"seed": 1})
    base, twin = (found[1], again) if later else (again, found[1])
    table = ablate([*found, again], base, "aime24")
    assert base in table.baseline.evaluations
    assert twin not in table.baseline.evaluations
    ((name, why),) = table.left_out
    assert name == twin.name
    assert base.name in why
    assert len(table.rows) == 3


def test_what_was_evaluated_before_training_is_no_arm(found: list[Evaluation], tmp_path: Path) -> None:
    lost = make_run(tmp_path, "20260112-000000-lost-r012", pipeline=WIDER)
    evaluate(lost, rows_of(counted(BASE), 4), step=0)
    untrained = open_evaluation(tmp_path, "r012", "aime24")
    table = ablate([*found, untrained], found[0], "aime24")
    assert table.left_out == ((untrained.name, "evaluated at step 0, before its training"),)
    assert len(table.rows) == 3
    with pytest.raises(UserError, match="was evaluated before its training"):
        ablate([*found, untrained], untrained, "aime24")
    with pytest.raises(UserError, match=r"nothing to compare it with; left out: .*@0: evaluated at step 0"):
        ablate([found[0], untrained], found[0], "aime24")


def test_another_step_of_as_long_a_run_is_no_arm_and_that_of_a_longer_run_is(
    found: list[Evaluation], tmp_path: Path
) -> None:
    stopped = make_run(tmp_path, "20260112-000000-stopped-r012", pipeline=WIDER)
    evaluate(stopped, rows_of(counted(BASE), 4), step=60)
    longer = make_run(tmp_path, "20260113-000000-longer-r013", config={"steps": 200})
    evaluate(longer, rows_of(counted(BASE), 4), step=200)
    others = [open_evaluation(tmp_path, name, "aime24") for name in ("r012", "r013")]
    table = ablate([*found, *others], found[0], "aime24")
    ((name, why),) = table.left_out
    assert (name, "at step 60, the baseline at step 100" in why) == (others[0].name, True)
    assert [badge.kind for badge in table.rows[-1].badges] == ["step"]
    assert len(table.rows) == 4


def test_other_steps_and_other_files_are_other_arms(found: list[Evaluation], tmp_path: Path) -> None:
    evaluate(found[0].run.directory, rows_of(counted(BASE), 4), step=0)
    untrained = open_evaluation(tmp_path, f"{found[0].run.id}@0", "aime24")
    files = [
        add(tmp_path, day, "idea", BASE, pipeline={"grpo": {}, "idea": {"sha256": str(day) * 64}}) for day in (11, 12)
    ]
    arms, _ = group([*found, untrained, *files])
    assert len(arms) == 6


def test_the_matrix(found: list[Evaluation]) -> None:
    table = ablate(found, found[0], "aime24")
    assert [ablation.name_of(row, table) for row in table.rows] == ["grpo, clip", "+clip_wider -clip", "optim.lr=1e-05"]
    assert [row.problems for row in table.rows] == [8, 8, 8]
    base, wider, faster = (row.effects["avg"] for row in table.rows)
    assert base.value == pytest.approx((11 + 11 + 12) / 96)
    assert wider.difference == pytest.approx((20 + 21) / 64 - 34 / 96)
    assert wider.interval.low < wider.difference < wider.interval.high
    assert (wider.seeds, faster.seeds) == (True, False)
    assert sorted([wider.holm, faster.holm]) == pytest.approx(
        sorted([min(1.0, 2 * min(wider.p, faster.p)), max(2 * min(wider.p, faster.p), wider.p, faster.p)])
    )
    assert math.isnan(base.interval.low)


def test_the_baseline_is_what_is_asked_for(found: list[Evaluation]) -> None:
    table = ablate(found, found[5], "aime24")
    # It has one seed, so that no row's interval can tell of seeds.
    assert [row.effects["avg"].seeds for row in table.rows] == [False, False, False]
    table = ablate(found, found[4], "aime24")
    assert [ablation.name_of(row, table) for row in table.rows][1:] == [
        "+clip -clip_wider",
        "+clip -clip_wider optim.lr=1e-05",
    ]


def test_without_another_arm_there_is_nothing_to_say(found: list[Evaluation]) -> None:
    with pytest.raises(UserError, match="nothing to compare"):
        ablate(found[:3], found[0], "aime24")


def test_only_problems_that_every_run_measured_count(found: list[Evaluation], tmp_path: Path) -> None:
    run = make_run(tmp_path, "20260109-000000-wider-r009", config={"seed": 5}, pipeline=WIDER)
    evaluate(run, rows_of(counted(BASE), 4)[:14], complete=False, data={"problems": 8})
    part = open_evaluation(tmp_path, "r009", "aime24")
    table = ablate([*found, part], found[0], "aime24")
    assert [row.problems for row in table.rows] == [8, 3, 8]
    assert [badge.kind for badge in table.rows[1].badges] == ["incomplete"]


def test_one_seed_each_is_the_interval_of_a_comparison() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.binomial(8, 0.4, (1, 30)) / 8, rng.binomial(8, 0.5, (1, 30)) / 8
    found = effect(ours, theirs, responses=8)
    (expected,) = difference_intervals((theirs - ours).T, [8])
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert (found.p < 0.05) == (expected.low > 0 or expected.high < 0)


@pytest.mark.parametrize("shift", [0.0, 0.04])
def test_with_many_problems_it_is_the_paired_t_test(shift: float) -> None:
    rng = np.random.default_rng(0)
    ours = rng.random((1, 600))
    theirs = ours + rng.uniform(-0.4, 0.4, (1, 600)) + shift
    found = effect(ours, theirs, responses=8)
    exact = stats.ttest_rel(theirs[0], ours[0])
    interval = exact.confidence_interval(0.95)
    assert found.p == pytest.approx(exact.pvalue, rel=0.1, abs=1e-3)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), abs=0.002)


def test_seeds_that_matter_alone_are_welchs_t_test() -> None:
    """Every one of many problems is as hard as the others: then only the means of seeds vary."""
    means = np.array([0.2, 0.26, 0.31]), np.array([0.5, 0.42])
    found = effect(*(np.repeat(each[:, None], 1000, axis=1) for each in means), responses=8)
    exact = stats.ttest_ind(means[1], means[0], equal_var=False)
    interval = exact.confidence_interval(0.95)
    assert found.p == pytest.approx(exact.pvalue, rel=0.01)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), abs=0.002)


def test_the_variance_is_that_of_clustering_by_problem_and_by_run() -> None:
    """statsmodels' two-way cluster-robust variance of the difference, its parts brought to unbiased divisors."""
    rng = np.random.default_rng(1)
    seeds, problems = 3, 40
    tables = [rng.random((seeds, problems)) + rng.normal(0, 0.2, (seeds, 1)) + rng.random(problems) for _ in range(2)]
    frame = pd.DataFrame(
        [
            {"y": tables[arm][seed, problem], "arm": arm, "run": arm * seeds + seed, "problem": problem}
            for arm in range(2)
            for seed in range(seeds)
            for problem in range(problems)
        ]
    )
    model = sm.OLS(frame["y"], sm.add_constant(frame[["arm"]]))

    def clustered(groups: pd.Series) -> float:
        options = {"groups": groups, "use_correction": False}
        return float(model.fit(cov_type="cluster", cov_kwds=options).cov_params().loc["arm", "arm"])

    of_problems = clustered(frame["problem"]) * problems / (problems - 1)
    of_runs = clustered(frame["run"]) * seeds / (seeds - 1)
    residual = [t - t.mean(1, keepdims=True) - t.mean(0) + t.mean() for t in tables]
    both = sum((each**2).sum() for each in residual) / ((seeds - 1) * (problems - 1) * seeds * problems)
    variance = of_problems + of_runs - both
    # Satterthwaite's degrees of freedom from the same parts.
    parts = [(of_problems, problems - 1)]
    for table in tables:
        rest = ((table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()) ** 2).sum()
        own = table.mean(axis=1).var(ddof=1) / seeds - rest / ((seeds - 1) * (problems - 1) * seeds * problems)
        parts.append((max(0.0, own), seeds - 1))
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    found = effect(*tables, responses=10**6)
    half = (found.interval.high - found.interval.low) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(variance), rel=0.03)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.difference) / math.sqrt(variance), freedom), rel=0.1)


@pytest.mark.parametrize(("problems", "seeds", "k", "spread"), [(30, 3, 8, 0.03), (30, 3, 8, 0.0), (60, 5, 4, 0.03)])
def test_intervals_cover_for_other_seeds_and_problems(problems: int, seeds: int, k: int, spread: float) -> None:
    """2,000 pairs of arms with a true difference of 0.05: seeds move an arm by `spread`, and each problem by up to 0.05."""
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(2000):
        base = rng.uniform(0.3, 0.6, problems)
        shares = base, base + rng.uniform(-0.05, 0.15, problems)
        tables = []
        for share in shares:
            moved = share + rng.normal(0, spread, (seeds, 1)) + rng.uniform(-0.05, 0.05, (seeds, problems))
            tables.append(rng.binomial(k, np.clip(moved, 0, 1)) / k)
        found = effect(*tables, responses=k, draws=1000)
        hits.append(found.interval.low <= 0.05 <= found.interval.high)
    assert 0.93 < np.mean(hits) < 0.985


def test_arms_that_are_the_same() -> None:
    same = np.tile([0.0, 0.5, 1.0], (2, 1))
    found = effect(same, same)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert found.interval.high == pytest.approx(-found.interval.low, abs=0.1)
    assert 0.5 < found.interval.high < 1
    # Each problem by the same: one that was not seen may be another.
    shifted = effect(np.zeros((1, 4)), np.full((1, 4), 0.5))
    assert shifted.interval.low < 0.5 < shifted.interval.high
    assert (shifted.p < 0.05) == (shifted.interval.low > 0)
    assert math.isnan(effect(np.zeros((2, 1)), np.ones((2, 1))).interval.low)


def shown(table: Ablation, columns: int) -> list[str]:
    return tables.laid_out(ablation.page(table, columns), columns).split("\n")


@pytest.mark.parametrize("columns", [80, 160])
def test_every_line_fits(found: list[Evaluation], columns: int) -> None:
    lines = shown(ablate(found, found[0], "aime24", [("nope", "no run `nope`")]), columns)
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert [line.split()[0] for line in lines[2:5]] == ["grpo,", "+clip_wider", "optim.lr=1e-05"]
    assert lines[2].split()[2:] == ["3", "8", "35.4%", "baseline"] + (["66.7%", "31.2%"] if columns == 160 else [])
    assert "left out: nope: no run `nope`" in text
    assert "* one seed, of the row or of the baseline" in text
    assert ("pass@4" in text) == (columns == 160)


def test_formats(found: list[Evaluation], tmp_path: Path) -> None:
    names = [each.run.id for each in found]
    as_json = json.loads(dapoctl("ablation", *names, "--task", "aime24", "--json", root=tmp_path).stdout)
    assert [(row["name"], row["seeds"], row["baseline"]) for row in as_json["rows"]] == [
        ("grpo, clip", [0, 1, 2], True),
        ("+clip_wider -clip", [0, 1], False),
        ("optim.lr=1e-05", [0], False),
    ]
    assert as_json["rows"][1]["effects"]["avg"]["difference"] == pytest.approx(41 / 64 - 34 / 96)
    as_csv = dapoctl("ablation", *names, "--task", "aime24", "--csv", root=tmp_path).stdout
    rows = [*csv.DictReader(io.StringIO(as_csv))]
    assert [(row["metric"], row["seeds"]) for row in rows] == [(m, n) for n in "321" for m in ("avg", "pass", "maj")]
    assert rows[3]["accounts_for_seeds"] == "True"
    assert float(rows[3]["p_holm"]) == pytest.approx(as_json["rows"][1]["effects"]["avg"]["p_holm"])
    markdown = dapoctl("ablation", *names, "--task", "aime24", "--markdown", root=tmp_path).stdout
    tables = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in tables} == {9}
    assert "\\* one seed" in markdown


def test_runs_by_query_and_baseline_by_name(found: list[Evaluation], tmp_path: Path) -> None:
    make_run(tmp_path, "20260120-000000-never-r020")
    done = dapoctl(
        "ablation", "--filter", "steps=100", "--baseline", "r006", "--task", "aime24", "--json", root=tmp_path
    )
    assert [row["seeds"] for row in json.loads(done.stdout)["rows"]] == [[0], [0, 1, 2], [0, 1]]
    assert json.loads(done.stdout)["rows"][0]["runs"] == [found[5].run.id]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--filter"]),
        (["nope"], ["no run `nope`"]),
        (["r001", "r002"], ["nothing to compare"]),
        (["--filter", "steps=7"], ["none of the 0 matching runs"]),
        (["--filter", "steps=100", "--json", "--csv"], ["choose one format"]),
        (["r001", "r004@3"], ["every run has the baseline's configuration"]),
    ],
)
@pytest.mark.usefixtures("found")
def test_mistakes(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    done = dapoctl("ablation", *arguments, "--task", "aime24", root=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    for word in words:
        assert word in done.stderr
