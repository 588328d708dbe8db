"""`dapoctl compare` as users meet it: tables at 80 and 160 columns, other formats, transcripts, mistakes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from dapoctl.evaluation.compare.comparison import Comparison, compare, select
from dapoctl.evaluation.statistics.intervals import Interval
from dapoctl.evaluation.stored import responses
from dapoctl.views import numbers, tables
from dapoctl.views.comparison import page
from dapoctl.views.transcripts import page as transcript
from tests.support.cli import on_store as dapoctl
from tests.support.evaluations import counted, evaluate, make_run, row, rows_of
from tests.support.processes import HEAVY, modules_after

FIRST = [0, 0, 1, 2, 4, 3, 0, 1]
SECOND = [1, 0, 3, 2, 4, 4, 2, 0]
NASTY = "[/bold][red]\x1b[31m\u202eevil\x07"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = tmp_path / "runs"
    evaluate(make_run(store, "20260101-000000-grpo-aaaa"), rows_of(counted(FIRST), 4))
    wide = {"pipeline": {"grpo": {}, "clip_wider": {}}, "config": {"optim": {"lr": 1e-5}}}
    evaluate(make_run(store, "20260102-000000-wider-bbbb", **wide), rows_of(counted(SECOND), 4))
    other = make_run(store, "20260103-000000-longer-cccc", config={"steps": 900})
    evaluate(other, rows_of(counted(FIRST[:4]), 4), complete=False, protocol={"temperature": 0.6}, data={"problems": 8})
    return store


def shown(found: Comparison, columns: int, rows: int = 40) -> list[str]:
    return tables.laid_out(page(found, found.matrix, rows, columns), columns).split("\n")


@pytest.mark.parametrize("columns", [80, 160])
def test_every_line_fits(root: Path, columns: int) -> None:
    lines = shown(compare(root, ["aaaa", "bbbb", "cccc", "nope"], "aime24"), columns)
    assert max(map(len, lines)) <= columns


AT_80 = """\
what the responses are like
   pass@4  maj@4  tokens  truncated  no answer  format  error  timeout
A   62.5%  31.2%      12       0.0%       0.0%    0.0%   0.0%     0.0%
B   75.0%  50.0%      12       0.0%       0.0%    0.0%   0.0%     0.0%

pass@j: solved by at least one of j responses
          j = 1  j = 2  j = 4
A    ▄▆▇  34.4%  47.9%  62.5%
B    ▆▇█  50.0%  64.6%  75.0%
B-A       +15.6  +16.7  +12.5
B-A: p = 0.375 for the whole row (sign flips, exact); no j has a test of its
own.

problem by problem: right responses, largest difference from the baseline first
problem  A of 4  B of 4  points
p02        ░  1    ▓  3   +50.0
p06           0    ▒  2   +50.0
p00           0    ░  1   +25.0
p05        ▓  3    █  4   +25.0
p07        ░  1       0   -25.0
3 problems more: --rows 8 shows them

A -> B: what differs between the runs
components
  - clip
  + clip_wider
configuration
  optim.lr  1e-06 -> 1e-05"""


def test_the_page_at_80_columns(root: Path) -> None:
    lines = shown(compare(root, ["aaaa", "bbbb"], "aime24"), 80, rows=5)
    assert lines[:2] == [
        "A  20260101-000000-grpo-aaaa@100: tiny, 8 x 4, grpo, clip",
        "B  20260102-000000-wider-bbbb@100: tiny, 8 x 4, grpo, clip_wider",
    ]
    assert "aime24: does it help?" in lines
    header = next(line for line in lines if "avg@4" in line)
    assert header.split() == ["avg@4", "[95%]", "minus", "A", "[95%]", "p", "MDE", "CPU", "h", "tokens"]
    (other,) = [line for line in lines if line.startswith("B  50.0% [")]
    assert "+15.6 [" in other
    # Five differ, by 1, 1, 2, 2 and -1 quarters: of 2^5 patterns, 4 have a sum of 5 or 7, 4 of -5 or -7.
    assert " 0.250 " in other
    text = "\n".join(lines)
    running = " ".join(text.split())
    assert "B: no significant difference from A (p = 0.250) over 8 problems, of which 5 differ;" in running
    assert "Where fewer than 6 problems differ" in text
    assert text.endswith(AT_80)


def test_the_page_at_160_columns_says_more(root: Path) -> None:
    text = "\n".join(shown(compare(root, ["aaaa", "bbbb", "cccc"], "aime24"), 160))
    lines = text.split("\n")
    assert lines[0].split() == ["run@step", "model", "problems", "x", "k", "components"]
    header = next(line for line in lines if "avg@4" in line)
    assert " ".join(header.split()).endswith("p p Holm MDE up down CPU h tokens eval h eval tokens")
    assert " temperature  1 / 0.6" in text
    assert " incomplete  C has 4 of 8 problems" in text
    running = " ".join(text.split())
    assert "corrected for 2 comparisons" in running
    assert "(but so does the evaluations' temperature)" in running
    assert "steps  100 -> 900" in text
    # Measured by A and B only.
    (line,) = [line for line in lines if line.startswith("p06")]
    assert line.split() == ["p06", "0", "▒", "2", "·", "+50.0"]


def test_a_clear_difference_is_called_one(tmp_path: Path) -> None:
    for name, right in (("20260101-000000-x-aaaa", 0), ("20260102-000000-x-bbbb", 3)):
        evaluate(make_run(tmp_path, name), rows_of(counted([right] * 12), 4))
    text = "\n".join(shown(compare(tmp_path, ["aaaa", "bbbb"], "aime24"), 80))
    assert "B is higher than A (p < 0.001) over 12 problems, of which 12 differ" in text
    text = "\n".join(shown(compare(tmp_path, ["bbbb", "aaaa"], "aime24"), 80))
    assert "B is lower than A (p < 0.001)" in text


def test_no_problem_in_common(tmp_path: Path) -> None:
    evaluate(make_run(tmp_path, "20260101-000000-x-aaaa"), rows_of({"x": 1}, 1), k=1)
    evaluate(make_run(tmp_path, "20260102-000000-x-bbbb"), rows_of({"y": 1}, 1)[:1], k=1)
    text = "\n".join(shown(compare(tmp_path, ["aaaa", "bbbb"], "aime24"), 80))
    assert "B: no problem was measured on both sides, so nothing can be said" in text


def test_what_models_and_files_say_is_never_markup(tmp_path: Path) -> None:
    for name in ("20260101-000000-x-aaaa", "20260102-000000-x-bbbb"):
        rows = [
            row(
                NASTY,
                0,
                name.endswith("b"),
                prompt=NASTY,
                answer=NASTY,
                response=f"{NASTY}\n{name}{NASTY}",
                extracted=NASTY,
            )
        ]
        protocol = {"instruction": NASTY + name, "scorer": NASTY + name}
        run = make_run(tmp_path, name, pipeline={NASTY + name: {}}, config={"model": {"path": NASTY}})
        evaluate(run, rows, k=1, protocol=protocol)
    found = compare(tmp_path, ["aaaa", "bbbb", NASTY.replace("/", "")], "aime24")
    sides, both = found.sides[:2], tuple(responses(side.evaluation, NASTY) for side in found.sides)
    for columns in (80, 160):
        written = tables.laid_out(
            transcript(NASTY, 0, (sides[0], sides[1]), (both[0], both[1]), True, columns), columns
        )
        for text in ("\n".join(shown(found, columns)), written):
            assert not {"\x1b", "\u202e", "\x07"} & {*text}
            assert "[/bold][red]\\x1b[31m\\u202eevil\\x07" in text.replace("\n", "")
    for format_ in ("--markdown", "--csv"):
        text = dapoctl("compare", "aaaa", "bbbb", "--task", "aime24", format_, root=tmp_path).stdout
        assert "\\[/bold\\]" in text if format_ == "--markdown" else "[/bold]" in text


def written(root: Path, columns: int, sample: int = 3) -> str:
    found = compare(root, ["aaaa", "bbbb"], "aime24")
    first, second = found.sides
    both = (responses(first.evaluation, "p05"), responses(second.evaluation, "p05"))
    return tables.laid_out(transcript("p05", sample, (first, second), both, True, columns), columns)


SIDE_BY_SIDE = """\
problem p05
What is p05?

answer 7
response 3 of 0 to 3; the first on which they disagree; --sample N shows
another. ▶ marks where they part

A  20260101-000000-grpo-aaaa@100        B  20260102-000000-wider-bbbb@100
wrong: answer 8                         right: answer 7
13 tokens; 3 of 4 right                 13 tokens; 4 of 4 right

Let me see. Answer: ▶8                  Let me see. Answer: ▶7"""


def test_transcripts_beside_each_other(root: Path) -> None:
    assert written(root, 80) == SIDE_BY_SIDE
    assert max(map(len, written(root, 160).split("\n"))) <= 160
    assert "the same text" in written(root, 80, sample=0)


def test_the_response_that_tells_most_is_chosen(root: Path) -> None:
    done = dapoctl("compare", "aaaa", "bbbb", "--task", "aime24", "--problem", "p05", "--json", root=root)
    found = json.loads(done.stdout)
    assert (found["sample"], found["divergence"]) == (3, 20)
    assert [each["outcome"] for each in found["responses"]] == ["wrong", "right"]
    done = dapoctl("compare", "aaaa", "bbbb", "--task", "aime24", "--problem", "p05", "--sample", "1", root=root)
    assert "response 1 of 0 to 3; --sample" in done.stdout


def test_json_is_the_whole_and_the_same_again(root: Path) -> None:
    arguments = ("compare", "aaaa", "bbbb", "cccc", "nope", "--task", "aime24", "--json", "--seed", "4")
    done = dapoctl(*arguments, root=root)
    assert done.returncode == 0, done.stderr
    assert dapoctl(*arguments, root=root).stdout == done.stdout
    found = json.loads(done.stdout)
    assert [run["label"] for run in found["runs"]] == ["A", "B", "C"]
    assert found["runs"][0]["metrics"]["avg@4"]["value"] == pytest.approx(11 / 32)
    assert [each["second"] for each in found["comparisons"]] == ["B", "C"]
    assert found["comparisons"][0]["p"] == pytest.approx(0.25)
    assert found["comparisons"][1]["problems"] == 4
    assert found["comparisons"][0]["pass_p"] == pytest.approx(0.375)
    assert "one seed each" in found["cautions"][0]
    assert [badge["kind"] for badge in found["comparisons"][1]["badges"]] == ["temperature", "set", "incomplete"][::2]
    assert found["missing"][0]["run"] == "nope"
    assert found["problems"][0] == {"id": "p02", "right": [1, 3, 1]}
    assert found["runs"][0]["cost"]["train_hours"] is None
    filtered = dapoctl(*arguments, "--solved", "b", "--never", "A", root=root)
    assert [line["id"] for line in json.loads(filtered.stdout)["problems"]] == ["p06", "p00"]


def test_csv_and_markdown(root: Path) -> None:
    text = dapoctl("compare", "aaaa", "bbbb", "--task", "aime24", "--csv", root=root).stdout
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["label"], first["difference"], first["badges"]) == ("A", "", "")
    assert float(first["avg"]) == pytest.approx(11 / 32)
    assert float(second["difference"]) == pytest.approx(5 / 32)
    assert (second["paired"], second["higher"], second["lower"], second["train_hours"]) == ("8", "4", "1", "")
    assert None not in first
    text = dapoctl("compare", "aaaa", "cccc", "--task", "aime24", "--markdown", "--rows", "2", root=root).stdout
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in tables[:4] if "---" not in line}) == 1
    assert "- B / A: **temperature** 1 / 0.6" in text
    assert text.count("/4 |") == 4
    # The row of pass@j has its verdict, and what the figures do not say is there too.
    (row,) = [line for line in tables if line.startswith("| B-A |")]
    assert row.count("|") == 5
    assert "- B-A: p = 1.000 for the whole row (sign flips, exact)" in text
    assert "- B: no significant difference from A" in text
    assert "- A and B are two checkpoints, one seed each" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aaaa"], ["`aaaa`", "aaaa@0 aaaa"]),
        (["aaaa", "nope"], ["no run `nope`"]),
        (["aaaa", "aaaa@100"], ["named twice"]),
        (["aaaa", "bbbb@3"], ["at step 3; it has 100"]),
        (["aaaa", "bbbb", "--json", "--csv"], ["--json and --csv", "choose one"]),
        (["aaaa", "bbbb", "--sample", "1"], ["--sample", "--problem"]),
        (["aaaa", "bbbb", "--problem", "p5"], ["--problem p5", "Did you mean `p05`?"]),
        (["aaaa", "bbbb", "--problem", "p05", "--sample", "9"], ["--sample 9", "0 to 3"]),
        (["aaaa", "cccc", "--problem", "p05"], ["`p05` was answered by A only"]),
        (["aaaa", "bbbb", "--problem", "p05", "--csv"], ["--problem", "--json"]),
        (["aaaa", "bbbb", "--never", "Q"], ["--never Q", "A, B"]),
    ],
)
def test_mistakes_exit_2_and_name_the_fix(arguments: list[str], words: list[str], root: Path) -> None:
    done = dapoctl("compare", *arguments, "--task", "aime24", root=root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.process
@pytest.mark.parametrize("command", [["compare", "aaaa", "bbbb"], ["ablation", "aaaa", "bbbb"]])
def test_nothing_heavy_is_imported(command: list[str], root: Path) -> None:
    arguments = ["dapoctl", *command, "--task", "aime24", "--runs-dir", str(root)]
    code = f"import sys\nsys.argv = {arguments!r}\nfrom dapoctl.cli import main\nassert main() == 0"
    found = modules_after(code, root)
    assert not ((HEAVY - {"scipy"}) | {"statsmodels", "pandas"}) & found


def test_a_set_that_nobody_evaluated(root: Path) -> None:
    done = dapoctl("compare", "aaaa", "bbbb", "--task", "aime25", root=root)
    assert done.returncode == 2
    assert "Did you mean `aime24`?" in done.stderr


@pytest.mark.parametrize(
    ("value", "interval", "signed", "words"),
    [
        (0.123, Interval(0.051, 0.21), False, "12.3% [5.1, 21.0]"),
        (0.031, Interval(-0.0001, 0.06), True, "+3.1 [0.0, +6.0]"),
        (0.5, Interval(float("nan"), float("nan")), False, "50.0%"),
        (float("nan"), Interval(0, 1), True, "?"),
    ],
)
def test_figures_with_intervals(value: float, interval: Interval, signed: bool, words: str) -> None:
    assert numbers.with_interval(value, interval, signed) == words


def test_short_forms() -> None:
    assert [numbers.p_value(p) for p in (0.0001, 0.0314, 1.0, float("nan"))] == ["<0.001", "0.031", "1.000", "?"]
    assert [numbers.count(n) for n in (0, 812, 9999, 12_345, 4.5e6, 2e9)] == [
        "0",
        "812",
        "9,999",
        "12.3k",
        "4.5M",
        "2.0G",
    ]
    assert [numbers.hours(h) for h in (0, 8e-8, 0.0421, 12.34, float("nan"))] == ["0", "<0.001", "0.042", "12.3", "?"]
    assert [numbers.shade(x) for x in (0, 0.01, 0.5, 0.99, 1)] == [" ", "░", "▒", "▓", "█"]
    assert numbers.bars([0, 0.5, 1], 1) == "▁▅█"
    assert numbers.bars([0, 0], 0) == "▁▁"


def test_nothing_different_and_nothing_left(root: Path) -> None:
    found = compare(root, ["aaaa", "cccc"], "aime24")
    lines = select(found.matrix, only_different=True)
    assert lines == []
    text = tables.laid_out(page(found, lines, 40, 80), 80)
    assert "none of 8 problems fits" in text
