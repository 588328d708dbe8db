"""Runs a Markdown document: files are written, commands and code executed in order, and outputs compared.

- A block after `<!-- file: PATH -->` is written to that file; after `<!-- same: PATH -->` it must be what is there.
- `sh` blocks are run by bash, and must succeed, or exit with the code of `<!-- exits: CODE -->`; `without: MODULE` leaves a
  block out where that module is installed. A `text` block after one has lines that its output must contain in this order.
- Other `python` blocks are run; `toml` blocks are part of some file that is there.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"(?:^<!-- (?P<note>.*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {"console"}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    note: dict[str, str]
    line: int


def blocks(document: str) -> list[Block]:
    """The document's blocks in order."""
    found = []
    for match in BLOCK.finditer(document):
        parts = [part.partition(":") for part in (match["note"] or "").split(";") if part.strip()]
        note = {key.strip(): value.strip() for key, _, value in parts}
        found.append(Block(match["language"], match["text"], note, document.count("\n", 0, match.start()) + 1))
    return found


def walk(found: list[Block], folder: Path, environment: dict[str, str]) -> list[str]:
    """Run blocks in `folder`; the commands that were run.

    Raises:
        AssertionError: with the line of the block that does not hold.
    """
    output, ran = "", []
    for block in found:
        where = f"line {block.line}"
        if "file" in block.note:
            (folder / block.note["file"]).write_text(block.text, encoding="utf-8")
        elif "same" in block.note:
            assert (folder / block.note["same"]).read_text(encoding="utf-8") == block.text, where
        elif block.language == "sh":
            if "without" in block.note and importlib.util.find_spec(block.note["without"]) is not None:
                output = ""
                continue
            output = _run(["bash", "-euo", "pipefail", "-c", _adapted(block.text)], block, folder, environment)
            ran += block.text.splitlines()
        elif block.language == "python":
            _run(["python", "-W", "error", "-c", block.text], block, folder, environment)
        elif block.language == "text":
            if output:
                _contains(output, block)
        elif block.language == "toml":
            assert any(block.text in path.read_text(encoding="utf-8") for path in folder.rglob("*.toml")), where
        else:
            assert block.language in NOT_RUN, f"{where}: nobody knows how to run `{block.language}`"
    return ran


def _adapted(script: str) -> str:
    """The same without a network: what builds a package uses what is installed."""
    return script.replace("python -m build", "python -m build --no-isolation")


def _run(command: list[str], block: Block, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    expected = int(block.note.get("exits", "0"))
    assert done.returncode == expected, f"line {block.line} exits with {done.returncode}:\n{block.text}\n{done.stdout}"
    return done.stdout


def _contains(output: str, block: Block) -> None:
    """Every line of `block` is part of a line of `output`, in order; runs of spaces count as one."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for expected in block.text.splitlines():
        wanted = " ".join(expected.split())
        place = next((place for place, line in enumerate(lines) if wanted in line), None)
        assert place is not None, f"line {block.line}: no further `{wanted}` in:\n{output}"
        lines = lines[place + 1 :]
