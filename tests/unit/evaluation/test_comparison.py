"""Comparisons of made-up evaluations whose figures can be worked out by hand or by scipy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dapoctl.errors import UserError
from dapoctl.evaluation.compare.badges import label
from dapoctl.evaluation.compare.comparison import Comparison, compare, select
from dapoctl.evaluation.compare.cost import cost_of
from dapoctl.evaluation.stored import open_evaluation
from dapoctl.runs.files import write_json, write_lines
from tests.support.evaluations import counted, evaluate, make_run, row, rows_of

A, B, C = (f"2026010{place}-000000-{letter}-{letter * 4}" for place, letter in enumerate("abc", 1))
FIRST = [0, 0, 1, 2, 4, 3, 0, 1]
SECOND = [1, 0, 3, 2, 4, 4, 2, 0]


def store(root: Path, *counts: list[int], k: int = 4, **changed: Any) -> Path:
    for name, each in zip((A, B, C), counts, strict=False):
        evaluate(make_run(root, name), rows_of(counted(each), k), k=k, **changed)
    return root


def compared(root: Path, *words: str, **changed: Any) -> Comparison:
    return compare(root, words, "aime24", **changed)


def test_a_difference_is_that_of_the_means_paired_by_problem(tmp_path: Path) -> None:
    found = compared(store(tmp_path, FIRST, SECOND), "aaaa", "bbbb")
    (contrast,) = found.contrasts
    apart = (np.array(SECOND) - FIRST) / 4
    assert contrast.difference == pytest.approx(apart.mean())
    assert contrast.interval.low < contrast.difference < contrast.interval.high
    assert (contrast.higher, contrast.lower, len(contrast.problems)) == (4, 1, 8)
    theirs = stats.permutation_test(
        (np.array(SECOND), np.array(FIRST)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert contrast.test.p == contrast.holm == pytest.approx(theirs.pvalue)
    share = [(each / 4) * (1 - each / 4) / 3 for each in (*FIRST, *SECOND)]
    half = 1.959964 * math.sqrt(sum(share)) / 8
    assert (contrast.noise.low, contrast.noise.high) == pytest.approx(
        (apart.mean() - half, apart.mean() + half), abs=1e-6
    )
    assert [side.figure("avg").value for side in found.sides] == pytest.approx([sum(FIRST) / 32, sum(SECOND) / 32])
    # 1 - C(4-c, 2) / 6 for c = 0 to 4
    pass_2 = [0, 1 / 2, 5 / 6, 1, 1]
    assert contrast.curve[2].value == pytest.approx(
        np.mean([pass_2[b] - pass_2[a] for a, b in zip(FIRST, SECOND, strict=True)])
    )
    assert [*contrast.curve] == [1, 2, 4]


def test_at_k_1_the_test_is_mcnemars(tmp_path: Path) -> None:
    found = compared(store(tmp_path, [0] * 7 + [1] * 5, [1] * 6 + [0, 0] + [1] * 4, k=1), "aaaa", "bbbb")
    (contrast,) = found.contrasts
    assert contrast.test.method == "McNemar, exact"
    assert contrast.test.p == pytest.approx(stats.binomtest(1, 7).pvalue)
    assert math.isnan(contrast.noise.low)


def test_other_ks_are_compared_by_their_shares(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of(counted([0, 1, 2, 4]), 4), k=4)
    evaluate(make_run(tmp_path, B), rows_of(counted([0, 3, 3, 5]), 6), k=6)
    (contrast,) = compared(tmp_path, "aaaa", "bbbb").contrasts
    assert contrast.difference == pytest.approx((0 + 1 / 4 + 0 - 1 / 6) / 4)
    # Of 1/4 and 1/6 the second is always outweighed: both signs of the first, with either of the second, are as far.
    assert contrast.test.p == pytest.approx(1.0)
    assert [badge.kind for badge in contrast.badges] == ["k"]
    assert [*contrast.curve] == [1, 2, 4]


def test_three_runs_are_corrected_and_two_are_not(tmp_path: Path) -> None:
    store(tmp_path, [0] * 12, [1] * 7 + [0] * 5, [1] * 8 + [0] * 4)
    found = compared(tmp_path, "aaaa", "bbbb", "cccc")
    assert [each.test.p for each in found.contrasts] == pytest.approx([2 / 2**7, 2 / 2**8])
    assert [each.holm for each in found.contrasts] == pytest.approx([2 / 2**7, 4 / 2**8])
    alone = compared(tmp_path, "aaaa", "cccc").contrasts[0]
    assert alone.holm == alone.test.p
    # Who else is there changes nothing but the correction.
    assert alone.interval == found.contrasts[1].interval


def test_the_same_seed_gives_the_same(tmp_path: Path) -> None:
    store(tmp_path, FIRST, SECOND)
    first, again = (compared(tmp_path, "aaaa", "bbbb", seed=3).contrasts[0] for _ in range(2))
    assert first == again
    # Neither order of rows nor that of runs is in it.
    folder = tmp_path / B / "evals" / "aime24" / "step_100"
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join([lines[0], *lines[:0:-1]]))
    assert compared(tmp_path, "aaaa", "bbbb", seed=3).contrasts[0] == first
    back = compared(tmp_path, "bbbb", "aaaa", seed=3).contrasts[0]
    assert (-back.difference, back.test.p) == pytest.approx((first.difference, first.test.p))


def test_only_problems_measured_on_both_sides_are_paired(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of(counted(FIRST), 4))
    half = rows_of(counted(SECOND), 4)[:18]
    evaluate(make_run(tmp_path, B), half, complete=False, data={"problems": 8})
    found = compared(tmp_path, "aaaa", "bbbb")
    (contrast,) = found.contrasts
    assert contrast.problems == ("p00", "p01", "p02", "p03")
    assert contrast.difference == pytest.approx((1 + 0 + 2 + 0) / 16)
    assert [(badge.kind, badge.words) for badge in contrast.badges if badge.kind == "incomplete"] == [
        ("incomplete", "B has 4 of 8 problems")
    ]
    assert found.matrix[-1].cells[1] is None
    assert len(found.matrix) == 8


def test_problems_with_another_answer_are_not_paired(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of(counted(FIRST), 4))
    other = [each | ({"answer": "9"} if each["problem"] == "p02" else {}) for each in rows_of(counted(SECOND), 4)]
    evaluate(make_run(tmp_path, B), other, data={"sha256": "b" * 64})
    assert "p02" not in compared(tmp_path, "aaaa", "bbbb").contrasts[0].problems


def test_nothing_in_common(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of({"x": 1, "y": 2}, 4))
    evaluate(make_run(tmp_path, B), rows_of({"v": 1, "w": 2}, 4))
    (contrast,) = compared(tmp_path, "aaaa", "bbbb").contrasts
    assert (contrast.problems, contrast.higher, contrast.curve, contrast.test.p) == ((), 0, {}, 1.0)
    assert math.isnan(contrast.difference)
    assert math.isnan(contrast.detectable)


def test_an_evaluation_that_was_just_begun(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of(counted(FIRST), 4))
    evaluate(make_run(tmp_path, B), rows_of(counted(FIRST), 4)[:2], complete=False, data={"problems": 8})
    found = compared(tmp_path, "aaaa", "bbbb")
    assert found.sides[1].figures == {}
    assert math.isnan(found.sides[1].figure("avg").value)


def test_what_is_not_there_is_named_and_the_rest_compared(tmp_path: Path) -> None:
    store(tmp_path, FIRST, SECOND)
    (evaluate(make_run(tmp_path, C), rows_of(counted(FIRST), 4)) / "samples.jsonl").unlink()
    found = compared(tmp_path, "aaaa", "nope", "bbbb", "cccc", "bbbb@7")
    assert [side.evaluation.run.id for side in found.sides] == [A, B]
    assert [word for word, _ in found.missing] == ["nope", "cccc", "bbbb@7"]
    assert "no samples.jsonl" in found.missing[1][1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nope", "aaaa"), "no run `nope`"),
        (("aaaa", "nope"), "no run `nope`"),
        (("aaaa",), "name a run"),
        (("aaaa", "bbbb", A), "is named twice"),
    ],
)
def test_what_cannot_be_compared(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    store(tmp_path, FIRST, SECOND)
    with pytest.raises(UserError, match=message):
        compared(tmp_path, *words)


def test_the_matrix_is_sorted_and_filtered(tmp_path: Path) -> None:
    found = compared(store(tmp_path, FIRST, SECOND, [0, 0, 1, 2, 0, 3, 0, 1]), "aaaa", "bbbb", "cccc")
    assert [line.problem for line in found.matrix] == ["p04", "p02", "p06", "p00", "p05", "p07", "p01", "p03"]
    assert found.matrix[1].cells == ((1, 4), (3, 4), (1, 4))
    assert [line.problem for line in select(found.matrix, only_different=True)][-1] == "p07"
    assert len(select(found.matrix, only_different=True)) == 6
    assert [line.problem for line in select(found.matrix, solved=1, never=0)] == ["p06", "p00"]
    assert [line.problem for line in select(found.matrix, solved=0, never=2)] == ["p04"]
    assert [line.problem for line in select(found.matrix, never=1)] == ["p07", "p01"]


def test_labels() -> None:
    assert [label(place) for place in (0, 1, 25, 26, 53)] == ["A", "B", "Z", "A2", "B3"]


def test_configurations_are_compared(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A), rows_of(counted(FIRST), 4))
    changed = {"pipeline": {"grpo": {}, "wide": {}}, "config": {"optim": {"lr": 1e-5}}}
    evaluate(make_run(tmp_path, B, **changed), rows_of(counted(FIRST), 4))
    config = compared(tmp_path, "aaaa", "bbbb").contrasts[0].config
    assert (config.only_first, config.only_second) == (("clip",), ("wide",))
    assert config.keys == {"optim.lr": (1e-6, 1e-5)}


def test_of_a_model_that_was_never_trained_only_the_model_is_compared(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, A, kind="eval", config={"steps": 0}, pipeline={}), rows_of(counted(FIRST), 4), step=0)
    evaluate(make_run(tmp_path, B, config={"model": {"path": "other"}}), rows_of(counted(FIRST), 4))
    config = compared(tmp_path, "aaaa", "bbbb").contrasts[0].config
    assert config.keys == {"model.path": ("tiny", "other")}


def trained(directory: Path, steps: int) -> None:
    times = {"time/generate": 60.0, "time/update": 30.0, "throughput/generated_tokens_per_s": 100.0}
    rows = [
        {"step": step, "time": 1.0, "metrics": times if step else {"eval/x/avg@1": 0.1}} for step in range(steps + 1)
    ]
    write_lines(directory / "metrics.jsonl", {"kind": "metrics"}, rows)


def test_cost_is_that_of_training_and_of_the_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path, A)
    evaluate(run, rows_of(counted(FIRST), 4), step=40, devices=["cuda:0", "cuda:1"], seconds=1800.0)
    evaluate(run, rows_of(counted(FIRST), 4), step=0)
    trained(run, 60)
    devices = [{"key": f"GPU-{place}", "label": f"GPU {place}", "gpu": True} for place in range(2)]
    write_json(run / "attempts" / "1" / "proc.json", {"devices": devices})
    cost = cost_of(open_evaluation(tmp_path, "aaaa@40", "aime24"))
    assert cost.train_hours == pytest.approx(40 * 90 * 2 / 3600)
    assert cost.train_tokens == pytest.approx(40 * 6000)
    assert (cost.eval_hours, cost.eval_tokens, cost.gpu) == (1.0, 1000.0, True)
    untrained = cost_of(open_evaluation(tmp_path, "aaaa@0", "aime24"))
    assert (untrained.train_hours, untrained.train_tokens) == (0.0, 0.0)


def test_cost_that_nobody_wrote_down_is_unknown(tmp_path: Path) -> None:
    run = make_run(tmp_path, A)
    folder = evaluate(run, [row("a", 0, True, tokens=5), row("b", 0, True, tokens=7)], k=1, step=40)
    trained(run, 30)
    write_json(folder / "summary.json", {"step": 40, "metrics": {"eval/aime24/avg@1": 1.0}})
    cost = cost_of(open_evaluation(tmp_path, "aaaa", "aime24"))
    assert math.isnan(cost.train_hours)
    assert math.isnan(cost.train_tokens)
    assert math.isnan(cost.eval_hours)
    assert (cost.eval_tokens, cost.gpu) == (12.0, None)


def test_two_models_that_solve_nothing_cannot_show_a_small_difference(tmp_path: Path) -> None:
    """0 of 960 on both sides: the interval is open to both sides, and so is what would be detected."""
    (contrast,) = compared(store(tmp_path, [0] * 30, [0] * 30, k=32), "aaaa", "bbbb").contrasts
    assert contrast.test.p == 1.0
    assert contrast.interval.low < -0.01 < 0.01 < contrast.interval.high
    # Even a model that solves 8 of 30 problems every time where the baseline solves none would be missed now and then.
    assert contrast.detectable > 6 / 30 / 2


def test_the_interval_agrees_with_the_test(tmp_path: Path) -> None:
    """Six problems, each better by one response: p is 2 of 2^6, and 0 is outside however little was seen."""
    (contrast,) = compared(store(tmp_path, [0] * 30, [1] * 6 + [0] * 24, k=32), "aaaa", "bbbb").contrasts
    assert contrast.test.p == pytest.approx(2 / 2**6)
    assert 0 < contrast.interval.low <= contrast.difference
    (contrast,) = compared(store(tmp_path / "five", [0] * 30, [32] * 5 + [0] * 25, k=32), "aaaa", "bbbb").contrasts
    assert contrast.test.p == pytest.approx(2 / 2**5)
    assert contrast.interval.low < 0 < contrast.interval.high


def test_two_trained_runs_say_nothing_about_methods(tmp_path: Path) -> None:
    found = compared(store(tmp_path, FIRST, SECOND, SECOND), "aaaa", "bbbb", "cccc")
    (words,) = found.cautions
    assert words.startswith("A, B and C are 3 checkpoints, one seed each: this says nothing about the methods")
    assert "`dapoctl ablation --task aime24 RUN ...`" in words


def test_what_training_did_and_other_models_need_no_such_word(tmp_path: Path) -> None:
    run = make_run(tmp_path, A)
    evaluate(run, rows_of(counted(FIRST), 4))
    evaluate(run, rows_of(counted(FIRST), 4), step=0)
    assert compared(tmp_path, "aaaa@0", "aaaa@100").cautions == ()
    evaluate(make_run(tmp_path, B, kind="eval", config={"steps": 0}, pipeline={}), rows_of(counted(FIRST), 4), step=0)
    assert compared(tmp_path, "bbbb", "aaaa").cautions == ()


def test_a_step_that_was_chosen_by_the_set_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, A)
    for step in (0, 40, 80, 120):
        evaluate(run, rows_of(counted(FIRST), 4), step=step, made="training" if step == 40 else "eval")
    (words,) = compared(tmp_path, "aaaa@0", "aaaa@40").cautions
    assert words.startswith("B is step 40 of 4 that were evaluated on aime24")
    assert "as `checkpoint.keep_best` does" in words
    assert compared(tmp_path, "aaaa@0", "aaaa@120").cautions == ()
    (words,) = compared(tmp_path, "aaaa@80", "aaaa@120").cautions
    assert "keep_best" not in words


def test_a_step_that_was_chosen_by_another_set_needs_no_such_word(tmp_path: Path) -> None:
    """`checkpoint.select_on`: only the step that is best there, and only on the sets that had no say."""
    run = make_run(tmp_path, A, config={"checkpoint": {"select_on": "math"}})
    for step, accuracy in ((0, 0.1), (40, 0.5), (80, 0.4), (120, 0.3)):
        evaluate(run, rows_of(counted(FIRST), 4), step=step)
        folder = run / "evals" / "math" / f"step_{step}"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"metrics": {"eval/math/avg@4": accuracy}}))
    assert compared(tmp_path, "aaaa@0", "aaaa@40").cautions == ()
    (words,) = compared(tmp_path, "aaaa@0", "aaaa@80").cautions
    assert words.startswith("B is step 80 of 4")


def test_questions_that_count_twice_and_evaluations_that_asked_nothing_are_said(tmp_path: Path) -> None:
    rows = [
        each | ({"prompt": "What is p00?"} if each["problem"] in ("p03", "p05") else {})
        for each in rows_of(counted(FIRST), 4)
    ]
    evaluate(make_run(tmp_path, A), rows, step=0)
    evaluate(make_run(tmp_path, B), rows, step=0, unasked=8)
    first, second = compared(tmp_path, "aaaa", "bbbb").cautions
    assert first.startswith("`aime24`: 2 problems repeat the question of another (p03, p05)")
    assert second.startswith("B was asked nothing")
