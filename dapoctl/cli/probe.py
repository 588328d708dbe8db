"""`dapoctl probe`: whether a model knows a set's questions by heart."""

import sys
from typing import Annotated

import typer

from dapoctl.cli.options import AnswerField, DataFile, Json, Limit, ProblemField, RunsDir, Step
from dapoctl.cli.output import emit, emit_json, told_warnings


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("probe")(probe)


def probe(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_RUN", help="A run (its latest checkpoint), a folder or a hub name.")
    ],
    task: Annotated[str, typer.Option("--task", metavar="NAME", help="A set such as math500; see eval --sets.")] = "",
    data: DataFile = "",
    problem_field: ProblemField = "",
    answer_field: AnswerField = "",
    share: Annotated[
        float | None,
        typer.Option(
            "--share", metavar="P", min=0.1, max=0.9, help="Of a question's words that are given; default: 0.6."
        ),
    ] = None,
    limit: Limit = None,
    step: Step = None,
    engine: Annotated[str | None, typer.Option("--engine", metavar="NAME", help="hf or vllm.")] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Give a model the beginning of each question, and count how often it writes the rest word for word.

    What was in its pretraining is often completed; a set that is newer than the model shows how rare that is by chance.
    Greedy, without the chat template (arXiv:2507.10532).
    """
    from dapoctl.cli.live import Ticker
    from dapoctl.evaluation.contamination.probe import SHARE
    from dapoctl.evaluation.contamination.probe import probe as complete
    from dapoctl.evaluation.problem_source import find_source
    from dapoctl.evaluation.target import find_target
    from dapoctl.runs.store import runs_root
    from dapoctl.views.probe import page, values

    share = SHARE if share is None else share
    target = find_target(model, runs_root(runs_dir), step, engine)
    named = {"problem_field": problem_field, "answer_field": answer_field}
    ticker = Ticker(sys.stderr, "probe", "questions")
    with told_warnings():
        source = find_source(task, data, {}, {key: name for key, name in named.items() if name})
        problems = source.load(limit)
        with ticker.shown():
            ticker.tell("load", 0, 0)
            found = complete(target, problems, share, lambda done, total: ticker.tell("complete", done, total))
    facts = {"set": source.label, "model": target.model, "step": target.step, "share": share}
    emit_json(facts | values(found)) if json else emit("\n".join(page(facts, found)))
