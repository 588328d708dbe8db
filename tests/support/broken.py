"""Plugins that are wrong in one way each, and `dapoctl` commands that meet them."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.support.cli import Done
from tests.support.cli import dapoctl as command

SMALL = (
    "rollout.prompts=2", "rollout.samples=2", "rollout.max_response_tokens=8", "eval.every=0", "train.threads=1",
)  # fmt: skip
"""Settings of runs that are over in a second or two"""
HEAD = "import torch\nfrom dapoctl import Component, PluginError, hookimpl\n"


def idea(body: str) -> str:
    """The source of a file with one component, `Idea`, whose body is given as a test indents it."""
    return f"{HEAD}\nclass Idea(Component):\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}\n"


def shaper(body: str) -> str:
    """`Idea` with a `shape_rewards` of that body."""
    return idea(f"@hookimpl\ndef shape_rewards(self, batch):\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}")


def line_of(source: str, part: str) -> int:
    """The number of the first line of `source` that has `part` in it."""
    return next(number for number, line in enumerate(source.splitlines(), 1) if part in line)


def distribution(folder: Path, name: str, files: dict[str, str], points: dict[str, str], version: str = "1.0") -> Path:
    """An installed distribution: modules beside its metadata, as `pip` leaves them; the folder, for PYTHONPATH."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[dapoctl.plugins]\n{lines}", encoding="utf-8")
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(textwrap.dedent(source), encoding="utf-8")
    return folder


def dapoctl(cwd: Path, *arguments: str, packages: tuple[Path, ...] = ()) -> Done:
    """A `dapoctl` command in `cwd` that has `packages` installed."""
    return command(*arguments, cwd=cwd, packages=packages, COLUMNS="200", TMPDIR=str(cwd))


def train(cwd: Path, plugins: str, *settings: str, packages: tuple[Path, ...] = ()) -> Done:
    """A small `dapoctl run` in `cwd`."""
    options = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    return dapoctl(cwd, "run", "--plugins", plugins, *options, packages=packages)
