"""The commands that `same_output` tries, and what in their output differs from minute to minute."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Facts = dict[str, list[dict[str, Any]]]
STAGES = ("policy_loss", "score_response", "build_engine", "regularize", "on_step_end")

READING = (
    ("--version", "", "p"),
    ("runs list", "", "nwpj"),
    ("runs list --filter 'state=finished and step>=4'", "", "pj"),
    ("runs list --filter 'not finished and (optim.lr<1e-3 or gkl)'", "", "pj"),
    ("runs list --filter 'nosuch=1'", "", "pj"),
    ("runs show {run}", "runs", "nj"),
    ("runs show nosuch", "", "pj"),
    ("runs diff {run} {next}", "runs", "pj"),
    ("runs logs {run}", "runs", "pj"),
    ("runs logs {run} --attempt 1 -n 3", "runs", "p"),
    ("runs note {run}", "runs", "j"),
    ("queue list", "", "nwpj"),
    ("gpus", "", "pj"),
    ("eval --sets", "", "nwp"),
    ("compare {some} --task {set}", "sets", "nwpjmc"),
    ("compare {first} {second} --task {set} --only-different --solved A --never B --rows 5", "sets", "nwjmc"),
    ("compare {first} {second} --task {set} --problem {problem}", "problems", "nwj"),
    ("compare {first}@0 {first} --task {set} --seed 1", "sets", "nwjmc"),
    ("ablation {measured} --task {set}", "sets", "nwpjmc"),
    ("ablation --filter 'not lora' --task {set} --baseline {last}", "sets", "nwjmc"),
    ("rescore {first} --task {set}", "sets", "pj"),
    ("plugins list", "", "nwpj"),
    ("plugins show {component}", "components", "nj"),
    ("plugins reference", "", "p"),
    ("plugins reference --hooks", "", "p"),
    ("plugins new --list-stages", "", "p"),
    ("plugins check clip_higher", "", "nwj"),
    ("plugins check overlong --set buffer=8 --no-step", "", "nwj"),
    ("run --dry-run -c {file}", "files", "pj"),
    ("run --dry-run --recipe dapo --plugins=-overlong,gkl --set optim.lr=1e-5", "", "pj"),
    ("run --dry-run --set optim.lt=1", "", "pj"),
    ("sweep --dry-run --axis seed=1,2 --axis optim.lr=1e-5,1e-6", "", "pj"),
    ("doctor -c {file} --gpu-memory 24", "files", "nwj"),
    ("doctor", "", "nwj"),
)
"""(command, what it is repeated over, its forms)"""

CHANGING = (
    ("queue release", "", "p"),
    ("queue hold {ticket}", "tickets", "pj"),
    ("queue move {ticket} 1", "tickets", "pj"),
    ("queue release {ticket}", "tickets", "pj"),
    ("queue drop {ticket}", "next", "p"),
    ("runs stop {ticket}", "tickets", "pj"),
    ("runs stop {run}", "oldest", "pj"),
    ("queue list", "", "pj"),
    ("runs tag {run} b,c", "oldest", "p"),
    ("runs tag {run} b c --remove c", "oldest", "pj"),
    ("runs note {run} '[red]a, \"note\"[/]'", "oldest", "pj"),
    ("runs rm {run} --checkpoints", "oldest", "p"),
    ("runs rm {run} --checkpoints --yes", "oldest", "pj"),
    ("runs rm {run} --yes", "oldest", "p"),
    ("plugins new length-budget made", "", "p"),
    *((f"plugins new {stage} made --single-file --stage {stage}", "", "p") for stage in STAGES),
    ("runs list", "", "pj"),
)
"""The same, for commands that change the copy: one after the other, at the end"""

VOLATILE = (
    ("", r"\bfor (\d+ s|\d+ min|\d+\.\d h)\b", "for AGE"),
    ("", r"dapoctl-\w+\.traceback", "dapoctl-N.traceback"),
    ("rescore", r"(?m)^.*: [\d,]+ of [\d,]+ responses, .*\n", ""),
    ("doctor", r"[\d.]+( of [\d.]+ GiB of memory free| GiB free in)", r"N\1"),
    ("doctor", r'"capacity": \d+', '"capacity": N'),
    ("plugins check", r'"seconds": [\d.]+', '"seconds": N'),
)
"""(beginning of commands, pattern, what takes its place): what differs from minute to minute"""


def facts_of(store: Path, work: Path, listed: dict[str, Any]) -> Facts:
    """What commands are repeated over, by its name in the tables.

    Args:
        work: a folder of TOML files
        listed: the components and recipes, as `plugins list` has them
    """
    runs = [path.parent.name for path in sorted(store.glob("[!.]*/spec.json"))]
    sets: dict[str, dict[str, Any]] = {}
    problems = []
    for path in sorted(store.glob("*/evals/*/step_*/samples.jsonl")):
        run, name = path.parts[-5], path.parts[-3]
        if name not in sets:
            sets[name] = {"set": name, "measured": []}
            rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            ids = list(dict.fromkeys(row["problem"] for row in rows if "problem" in row))
            problems += [(name, each) for each in ids[:2]]
        if run not in sets[name]["measured"]:
            sets[name]["measured"].append(run)
    for each in sets.values():
        names = each["measured"]
        each |= {"some": names[:4], "first": names[0], "second": names[min(1, len(names) - 1)], "last": names[-1]}
    tickets = [{"ticket": path.stem} for path in sorted(store.glob(".queue/2*.json"))]
    return {
        "runs": [{"run": run, "next": other} for run, other in zip(runs, [*runs[1:], *runs[:1]], strict=True)],
        "oldest": [{"run": run} for run in runs[:1]],
        "sets": [*sets.values()],
        "problems": [{**sets[name], "problem": problem} for name, problem in problems],
        "tickets": tickets,
        "next": tickets[:1],
        "files": [{"file": path.name} for path in sorted(work.glob("*.toml"))],
        "components": [{"component": each["name"]} for kind in listed.values() for each in kind],
    }


def expand(rows: Iterable[tuple[str, str, str]], facts: Facts) -> list[tuple[list[str], str]]:
    """The words and the form of each command; a word that stands for several becomes several."""
    found = []
    for command, over, forms in rows:
        for fact in facts[over] if over else [{}]:
            words: list[str] = []
            for word in shlex.split(command):
                each = fact.get(word[1:-1])
                words += each if isinstance(each, list) else [word.format(**fact) if fact else word]
            found += [(words, form) for form in forms]
    return found
