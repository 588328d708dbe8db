"""The sections of a report on where its figures come from: 13 to 15."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dapoctl.runs.difference import dotted
from dapoctl.study.evidence import Evidence
from dapoctl.views.markdown import code, escaped, table
from dapoctl.views.numbers import hours
from dapoctl.views.report.words import joined

OF_A_RUN = ("seed", "name", "plugins")


def provenance(evidence: Evidence) -> str:
    """13. Machine, versions, inputs, and how each arm's configuration differs from the first one's."""
    records = [*evidence.records.values()]
    if not records:
        return "No run is finished."
    parts = ["\n".join(table(["what", "value", "runs"], [*facts([record.spec for record in records])]))]
    arms = [*evidence.plan.resolved.items()]
    first_name, first = arms[0]
    base = dotted(first.as_dict())
    rows = []
    for name, resolved in arms[1:]:
        now = dotted(resolved.as_dict())
        keys = sorted(key for key in {*base, *now} if base.get(key) != now.get(key) and key not in OF_A_RUN)
        rows.append([code(name), ", ".join(f"{code(key)} {escaped(str(now.get(key, 'absent')))}" for key in keys)])
    parts.append(f"Configurations as resolved, where they differ from {code(first_name)}:")
    parts.append("\n".join(table(["arm", "differs in"], rows, left=(0, 1))))
    parts.append("The whole configuration of each arm is in the frozen plan, and in the `spec.json` of its runs.")
    return joined(parts)


def facts(specs: list[Mapping[str, Any]]) -> Iterator[list[str]]:
    """(what, value, in how many runs) of what the records of the runs say."""
    found: dict[str, Counter[str]] = {}
    for spec in specs:
        host, git, inputs = (spec.get(key) or {} for key in ("host", "git", "inputs"))
        facts = {
            "machine": f"{_system(str(host.get('system', '?')))}, {host.get('cpus', '?')} processors",
            "Python": str(spec.get("python", "?")),
            "commit": str(git.get("commit", "")) + (" with changes" if git.get("diff") else ""),
            **{f"library {name}": str(version) for name, version in dict(spec.get("versions") or {}).items()},
            **{f"input {key}": str(value) for key, value in _inputs(inputs).items()},
        }
        for name, value in facts.items():
            if value:
                found.setdefault(name, Counter())[value] += 1
    for name, values in found.items():
        for value, number in values.most_common():
            yield [escaped(name), escaped(value), str(number)]


def _inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of files by their names: where one machine had them, and since when, makes them no others."""
    data = {Path(path).name: facts for path, facts in dict(inputs.get("data") or {}).items()}
    found = dotted({**inputs, **({"data": data} if data else {})})
    return {key: value for key, value in found.items() if not key.endswith(".modified")}


def _system(platform: str) -> str:
    """`Linux x86_64` of `Linux-6.1.0-18-amd64-x86_64-with-glibc2.36`: the kernel's build moves no figure."""
    architecture = next((name for name in ("x86_64", "aarch64", "arm64", "AMD64") if name in platform), "")
    return f"{platform.partition('-')[0]} {architecture}".strip()


def limits(evidence: Evidence) -> str:
    """14. What the study cannot say by its making."""
    models = sorted({found.config.model.path for found in evidence.plan.resolved.values()})
    tasks = sorted({found.config.task for found in evidence.plan.resolved.values()})
    rates = sorted({found.config.optim.lr for found in evidence.plan.resolved.values()})
    lines = [
        f"One model ({', '.join(map(code, models))}) and one task ({', '.join(map(code, tasks))}): nothing is said of others.",
        f"The learning rate ({', '.join(f'{rate:g}' for rate in rates)}) and the other settings were the same for all arms but"
        " where an arm says otherwise; none was tuned for an arm.",
        "All arms have equally many steps. Arms that sample more a step cost more: the table of arms has tokens and hours.",
    ]
    lines += [f"{escaped(line)}" for line in evidence.plan.study.study.limits]
    return "\n".join(f"- {line}" for line in lines)


def repeat(evidence: Evidence) -> str:
    """15. The commands that make all of it again."""
    total = sum(evidence.hours.get(run.arm, 0.0) for run in evidence.plan.runs)
    name = evidence.plan.path.name
    lines = [
        f"dapoctl study run {name}       # about {hours(total)} hours of one device"
        if total
        else f"dapoctl study run {name}",
        f"dapoctl study results {name}   # every effect of every outcome",
        f"dapoctl study report {name}    # this report",
    ]
    return "\n".join(["```", *lines, "```"])


SECTIONS = (
    ("Provenance", provenance),
    ("Limits", limits),
    ("To repeat", repeat),
)
"""(title, what writes it)"""
