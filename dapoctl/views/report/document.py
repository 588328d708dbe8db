"""A report put together: Markdown with its figures beside it, and one HTML file that holds everything."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from dapoctl.study.evidence import Evidence
from dapoctl.views import columns
from dapoctl.views.markdown import csv_text, escaped
from dapoctl.views.report import course, provenance, results
from dapoctl.views.study import EFFECTS, EffectLine

IMAGE = re.compile(r"!\[(?P<what>[^\]]*)\]\((?P<name>[\w.-]+\.svg)\)")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
code { background: #f4f4f4; padding: 0 0.2rem; } pre code { display: block; padding: 0.6rem; }
svg { max-width: 100%; height: auto; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
""".strip()


def markdown(evidence: Evidence, drawn: Mapping[str, str]) -> str:
    """The report in Markdown.

    Args:
        drawn: the figures that there are, by file name; others are left out
    """
    study = evidence.plan.study.study
    made = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [f"# {escaped(study.name)}", "", f"Made by `dapoctl study report {evidence.plan.path.name}` on {made}.", ""]
    for number, (title, section) in enumerate((*results.SECTIONS, *course.SECTIONS, *provenance.SECTIONS), 1):
        text = section(evidence)
        lines += [
            f"## {number}. {title}",
            "",
            IMAGE.sub(lambda found: found[0] if found["name"] in drawn else "", text).strip(),
            "",
        ]
    return "\n".join(lines)


def html(title: str, text: str, drawn: Mapping[str, str]) -> str:
    """The Markdown `text` as one HTML page with its figures inside; what is HTML in it is shown, not obeyed."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, svg in drawn.items():
        # Split, not substituted: a backslash in the figure is none of a pattern's.
        body = svg.join(re.split(rf'<img src="{re.escape(name)}"[^>]*>', body))
    head = f'<meta charset="utf-8"><title>{_plain(title)}</title><style>\n{STYLE}\n</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}</body></html>\n'


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def tables(evidence: Evidence) -> dict[str, str]:
    """The figures of the report for programs, by file name."""
    effects = columns.csv(
        EFFECTS, [EffectLine(found, effect) for found in evidence.outcomes for effect in found.effects]
    )
    rows = [
        [found.name, run.arm, run.seed, value.value, value.censored, value.why, evidence.records[run].id]
        for found in evidence.outcomes
        for run, value in found.values.items()
    ]
    runs = csv_text(["outcome", "arm", "seed", "value", "censored", "why", "run"], rows)
    return {"effects.csv": f"{effects}\n", "runs.csv": f"{runs}\n"}
