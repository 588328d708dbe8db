"""`dapoctl scorers`: what scorers take and refuse."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dapoctl.cli.options import Json
from dapoctl.cli.output import command_group, emit, emit_json

if TYPE_CHECKING:
    from dapoctl.evaluation.scorer_check.cases import Case, Problem
    from dapoctl.evaluation.scorer_check.check import Checked, Judge
    from dapoctl.tasks.scorers import Scorer

group = command_group("The rules that say whether a response is right.")
LIMIT_S = 5.0


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(group, name="scorers")


@group.command("check")
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SCORER]...", help="math, strict, ...; default: all of them.")
    ] = None,
    task: Annotated[
        str, typer.Option("--task", metavar="NAME", help="The verifier of this task in place of scorers; needs --form.")
    ] = "",
    form: Annotated[
        list[str] | None,
        typer.Option("--form", metavar="TEXT", help="How an answer is given, such as '#{answer}'; repeat it."),
    ] = None,
    data: Annotated[
        str,
        typer.Option("--data", metavar="FILE", help="Problems to make cases from; default: some that are built in."),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Use the first N problems.")] = 30,
    json: Json = False,
) -> None:
    """Judge made-up responses: right answers in many forms, wrong ones, and exploits that commit to nothing.

    Says what is refused that is right, and what passes that is not, before a model finds out in training.
    """
    from dapoctl.evaluation.scorer_check.cases import cases_of, hostile
    from dapoctl.views.scorers import page, values
    from dapoctl.views.tables import laid_out
    from dapoctl.views.terminal import width

    forms, problems = _forms(task, form), _problems(task, data, limit)
    cases = [case for problem in problems for case in cases_of(problem, forms)]
    cases += [case for problem in problems[:1] for case in hostile(problem, forms)]
    results = [_task(task, cases)] if task else _scorers(names or (), cases)
    emit_json([values(each) for each in results]) if json else emit(
        laid_out(page(results, len(cases), width()), width())
    )


def _forms(task: str, forms: Sequence[str] | None) -> Sequence[str]:
    from dapoctl.errors import UserError

    for form in forms or ():
        try:
            made = form.format(answer="42")
        except (KeyError, IndexError, ValueError):
            made = ""
        if "42" not in made:
            raise UserError(
                f"--form {form!r}: must contain {{answer}}, the place where the answer goes, and no other braces"
            )
    if task and not forms:
        raise UserError(f"--task {task}: how does it want its answers? --form TEXT, such as --form '#{{answer}}'")
    return forms or ()


def _problems(task: str, data: str, limit: int) -> Sequence[Problem]:
    from dapoctl.evaluation.problem_source import find_source
    from dapoctl.evaluation.scorer_check.cases import BUILT_IN, Problem
    from dapoctl.tasks.problem_sets import question_of

    if not (task or data):
        return BUILT_IN[:limit]
    loaded = find_source(task if not data else "", data, {}, {}).load(limit)
    return [Problem(question_of(problem), problem.answer) for problem in loaded]


def _scorers(names: Sequence[str], cases: Sequence[Case]) -> list[Checked]:
    from dapoctl.cli.live import Ticker
    from dapoctl.evaluation.scorer_check.check import check as judge_all
    from dapoctl.tasks.scorers import SCORERS, build_scorer, check_scorer

    workers, results = min(8, len(os.sched_getaffinity(0))), []
    chosen = [check_scorer(name) for name in names or SCORERS]
    ticker = Ticker(sys.stderr, "scorers", "scorers")
    with ticker.shown():
        for number, name in enumerate(chosen):
            ticker.tell(name, number, len(chosen))
            scorer = build_scorer(name, workers, LIMIT_S)
            try:
                results.append(judge_all(name, _judge_by(scorer), cases, workers))
            finally:
                scorer.close()
    return results


def _judge_by(scorer: Scorer) -> Judge:
    return lambda case: scorer.verify(case.response, case.problem.answer, case.problem.question).outcome


def _task(task: str, cases: Sequence[Case]) -> Checked:
    from dapoctl.batch import Problem as Asked
    from dapoctl.evaluation.problem_source import find_source
    from dapoctl.evaluation.scorer_check.check import check as judge_all

    source = find_source(task, "", {}, {})
    known = {problem.answer: problem for problem in source.load()}

    def judge(case: Case) -> str:
        asked = known.get(case.problem.answer) or Asked(id="", prompt=case.problem.question, answer=case.problem.answer)
        score = source.pipeline.one("score_response", problem=asked, text=case.response)
        return "right" if score.correct else score.outcome or "wrong"

    try:
        return judge_all(task, judge, cases)
    finally:
        source.pipeline.close()
