"""`dapoctl eval`: sample, score and store answers to a set of problems."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dapoctl.cli.options import AnswerField, DataFile, Json, Limit, ProblemField, RunsDir, Step
from dapoctl.cli.output import emit, emit_json, told_warnings, warn

if TYPE_CHECKING:
    from dapoctl.evaluation.evaluate import Outcome
    from dapoctl.evaluation.plan import Job, Request

INTERRUPTED = 130


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("eval")(evaluate)


def _list_sets(requested: bool) -> None:
    if requested:
        from dapoctl.views.evaluation import sets_table

        emit("\n".join(sets_table()))
        raise typer.Exit


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL_OR_RUN", help="A run (its latest checkpoint), a folder, a hub name, or tiny."),
    ],
    task: Annotated[
        str,
        typer.Option("--task", metavar="NAME", help="A set such as aime25 or math500 (see --sets), or a task."),
    ] = "",
    data: DataFile = "",
    problem_field: ProblemField = "",
    answer_field: AnswerField = "",
    k: Annotated[int | None, typer.Option("-k", metavar="K", help="Responses per problem.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="NAME", help="dapo (T 1, top_p 0.7, k 32), greedy, r1 (0.6, 0.95, 32)."),
    ] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", metavar="T", help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", metavar="P", help="Nucleus sampling.")] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", metavar="N", help="Truncate responses here; default: the run's max_response_tokens."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of the sampling; default: 0.")] = None,
    instruction: Annotated[
        str | None,
        typer.Option("--instruction", metavar="TEXT", help="The prompt around {problem}; default: DAPO's."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="NAME", help="hf or vllm; default: the run's.")
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(
            "--scorer",
            metavar="NAME",
            help="math (the default), math_lenient (math as it was), dapo (verl's of 2026-01), dapo_boxed (2026-08) or strict.",
        ),
    ] = None,
    limit: Limit = None,
    step: Step = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A key of model, train, the engine or the task: arithmetic.max_digits=5."
        ),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Store the evaluation under this set name, to keep both."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Sample again, replacing what is stored.")] = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Evaluate a run in the background: the terminal may be closed; progress is in `evals/eval.log`.",
        ),
    ] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
    _sets: Annotated[
        bool, typer.Option("--sets", help="List the sets by name and exit.", callback=_list_sets, is_eager=True)
    ] = False,
) -> None:
    """Measure a model or a run's checkpoint on a set of problems. Stored responses are not sampled again.

    Ctrl-C stops it; the same command continues, and shows the result if it is complete. See `dapoctl compare`.
    """
    from dapoctl.evaluation.plan import Request, plan, trained_on
    from dapoctl.runs.store import runs_root

    changes = {
        "k": k,
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "seed": seed,
        "instruction": instruction,
        "scorer": scorer,
    }
    request = Request(
        model,
        task,
        data,
        protocol,
        changes,
        engine,
        limit,
        step,
        override or [],
        as_,
        again,
        {"problem_field": problem_field, "answer_field": answer_field},
    )
    if detach:
        _check_is_run(request, runs_root(runs_dir))
    with told_warnings():
        job = plan(request, runs_root(runs_dir), sys.argv)
    for warning in job.warnings:
        warn(warning)
    if job.stored is not None:
        _show(job, job.stored, json, "stored already; --again samples anew")
        return
    if detach:
        _send_off(job, request, json)
        return
    if words := trained_on(job):
        warn(words)
    outcome = _run(job)
    if outcome.state != "finished":
        command = shlex.join(["dapoctl", *(word for word in sys.argv[1:] if word != "--again")])
        progress = f"{outcome.done} of {len(job.problems)} problems are stored in {job.folder}"
        warn(f"stopped: {progress}; to continue: {command}")
        raise typer.Exit(INTERRUPTED)
    note = f"{outcome.resumed} of {outcome.done} problems were stored before" if outcome.resumed else ""
    _show(job, outcome.summary, json, note)


def _check_is_run(request: "Request", root: Path) -> None:
    """Refuse a model that is not a run's: only runs are evaluated in the background."""
    from dapoctl.errors import UserError
    from dapoctl.evaluation.target import find_target

    if find_target(request.model, root, request.step, request.engine, request.settings, request.task).run is None:
        raise UserError(
            f"--detach: `{request.model}` is a model, and only runs are evaluated in the background; leave it out"
        )


def _send_off(job: "Job", request: "Request", json: bool) -> None:
    """Evaluate in a process that outlives this one."""
    from dapoctl.evaluation.background import LOG, start
    from dapoctl.runs.summary import EVALS

    start([(job.directory, request.step)], options_of(request))
    log = job.directory / EVALS / LOG
    if json:
        emit_json({"run": job.directory.name, "directory": str(job.folder), "note": "started", "log": str(log)})
    else:
        emit(f"{job.directory.name} is being evaluated on {job.wanted['set']}; its output is in {log}")


def options_of(request: "Request") -> list[str]:
    """The options of `dapoctl eval` that repeat the request, without the run and its step."""
    named = {
        "--task": request.task,
        "--data": str(Path(request.data).resolve()) if request.data else "",
        **{f"--{name.replace('_', '-')}": value for name, value in request.fields.items()},
        "--protocol": request.protocol,
        "--engine": request.engine,
        "--limit": request.limit,
        "--as": request.label,
        **{f"--{name.replace('_', '-')}" if name != "k" else "-k": value for name, value in request.changes.items()},
    }
    given = [word for name, value in named.items() if value not in (None, "") for word in (name, str(value))]
    return [
        *given,
        *(word for text in request.settings for word in ("--set", text)),
        *(["--again"] if request.again else []),
    ]


def _run(job: "Job") -> "Outcome":
    from dapoctl.cli.live import Ticker
    from dapoctl.evaluation.evaluate import evaluate as run

    ticker = Ticker(sys.stderr, str(job.wanted["set"]))
    with told_warnings(), ticker.shown():
        return run(job, ticker.tell)


def _show(job: "Job", summary: dict[str, Any], json: bool, note: str) -> None:
    from dapoctl.views.evaluation import page

    if unasked := summary.get("unasked"):
        warn(
            f"{unasked} of {len(job.problems)} problems do not fit the model's context with --max-tokens"
            f" {job.protocol.max_tokens}: their responses count as empty, truncated and unanswered"
        )
    if json:
        emit_json({"run": job.directory.name, "directory": str(job.folder), "note": note, **summary})
    else:
        emit("\n".join(page(job.directory.name, job.folder, summary, note)))
