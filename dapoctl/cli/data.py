"""`dapoctl data`: problems, before a model sees them."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dapoctl.cli.options import AnswerField, DataFile, Json, ProblemField, RunsDir
from dapoctl.cli.output import command_group, emit, emit_json, told_warnings

group = command_group("Problems to train or to evaluate on.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(group, name="data")


@group.command("twins")
def twins(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Write the twins there, as JSON lines.")
    ],
    task: Annotated[
        str, typer.Option("--task", metavar="NAME", help="A set with equations: gsm8k, asdiv or svamp.")
    ] = "",
    data: DataFile = "",
    problem_field: ProblemField = "",
    answer_field: AnswerField = "",
    formula_field: Annotated[
        str,
        typer.Option(
            "--formula-field", metavar="FIELD", help="The field with the equations; default: the first that has."
        ),
    ] = "",
    originals: Annotated[
        Path | None, typer.Option("--originals", metavar="FILE", help="Write the problems that have a twin there.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the numbers.")] = 0,
    json: Json = False,
) -> None:
    """Make each problem again with other numbers, and compute its answer: does a model solve it, or remember it?

    Evaluate on --originals and on the twins, and compare. A problem has a twin where its equations are known, as in GSM8K's
    solutions, and where it is clear which number of the question each of theirs is.
    """
    from dapoctl.errors import UserError
    from dapoctl.evaluation.contamination.twins import twins_of
    from dapoctl.evaluation.problem_source import find_source
    from dapoctl.runs.files import write_text
    from dapoctl.tasks.problem_sets import question_of

    _check_apart(data, output, originals)
    named = {"problem_field": problem_field, "answer_field": answer_field}
    with told_warnings():
        problems = find_source(task, data, {}, {key: name for key, name in named.items() if name}).load()
    if formula_field and not any(formula_field in problem.meta for problem in problems):
        known = ", ".join(sorted({name for problem in problems for name in problem.meta}))
        raise UserError(f"--formula-field {formula_field}: no problem has it; the fields are: {known}")
    found, reasons = twins_of(problems, seed, formula_field)
    told = f"{len(found):,} of {len(problems):,} problems have a twin"
    why = [f"{count:,}: {reason}" for reason, count in reasons.most_common()]
    if not found:
        raise UserError(f"{told}; {'; '.join(why)}. Sets with equations are gsm8k, asdiv and svamp")
    kept = [problem for problem in problems if problem.id in found]
    rows = [
        {"id": each.id, "problem": twin.question, "answer": twin.answer, "numbers": dict(twin.numbers)}
        for each, twin in ((problem, found[problem.id]) for problem in kept)
    ]
    write_text(output, _lines(rows))
    if originals is not None:
        write_text(
            originals, _lines([{"id": each.id, "problem": question_of(each), "answer": each.answer} for each in kept])
        )
    if json:
        emit_json({"problems": len(problems), "twins": len(found), "without": dict(reasons), "file": str(output)})
        return
    emit("\n".join([f"{told}, in {output}", *(f"  without, {line}" for line in why)]))


@group.command("select")
def select(
    evaluation: Annotated[
        str,
        typer.Argument(metavar="RUN[@STEP]", help="An evaluation, as in `compare`: of the model before training, @0."),
    ],
    task: Annotated[str, typer.Option("--task", metavar="NAME", help="The set that was asked.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Write the problems there, as JSON lines.")
    ],
    low: Annotated[
        float, typer.Option("--low", metavar="P", min=0, max=1, help="Least share of right responses.")
    ] = 0.1,
    high: Annotated[
        float, typer.Option("--high", metavar="P", min=0, max=1, help="Largest share of right responses.")
    ] = 0.9,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Keep the problems that a model solves sometimes: those that it never or always solves teach it nothing.

    First ask the model the training problems, several times each: `dapoctl eval MODEL --data FILE -k 8 --as profile`.
    """
    from dapoctl.errors import UserError
    from dapoctl.evaluation.difficulty import solved_sometimes
    from dapoctl.evaluation.stored import open_evaluation
    from dapoctl.runs.files import write_text
    from dapoctl.runs.store import runs_root

    if low > high:
        raise UserError(f"--low {low:g} is more than --high {high:g}: no problem would be left")
    found = open_evaluation(runs_root(runs_dir), evaluation, task)
    _check_apart(str(found.data.get("source", "")), output, None)
    with told_warnings():
        kept, asked = solved_sometimes(found, low, high)
    write_text(output, _lines(kept))
    if json:
        emit_json({"asked": asked, "kept": len(kept), "low": low, "high": high, "file": str(output)})
        return
    emit(
        f"{len(kept):,} of {asked:,} problems, those with {low:.0%} to {high:.0%} of {found.k} responses right by"
        f" {found.name}, in {output}"
    )


def _check_apart(data: str, output: Path, originals: Path | None) -> None:
    """Refuse to write over what is read, or over the other file."""
    from dapoctl.errors import UserError

    taken = {Path(data).resolve(): "--data"} if data else {}
    for option, path in (("--output", output), ("--originals", originals)):
        if path is None:
            continue
        if (other := taken.setdefault(path.resolve(), option)) != option:
            raise UserError(f"{option} {path}: it is the file of {other}; name another")


def _lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json_module.dumps(row, ensure_ascii=False) + "\n" for row in rows)
