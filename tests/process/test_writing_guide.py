"""The guide for authors is run, block by block, in a virtual environment of its own; so is the README's section on it.

Slow: the guide's packages are installed into virtual environments, checked and trained with.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import dapoctl
from dapoctl import hookspecs
from tests.support.environments import virtual_environment
from tests.support.guide import NOT_RUN, Block, blocks, walk
from tests.support.places import ROOT

pytestmark = pytest.mark.process

GUIDE = (ROOT / "plugins" / "WRITING.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def chapter(document: str, title: str) -> str:
    """The text from a heading to the next of its level."""
    return re.split(r"^## ", document.partition(f"## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A fresh virtual environment on top of this one, in which packages may be installed; nothing is downloaded."""
    return virtual_environment(tmp_path_factory.mktemp("guide") / "venv", with_this_project=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_guide_holds(environment: dict[str, str], tmp_path: Path) -> None:
    ran = walk(blocks(GUIDE), tmp_path, environment)
    assert len(ran) > 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readme_s_section_holds(environment: dict[str, str], tmp_path: Path) -> None:
    assert walk(blocks(chapter(README, "Write a component")), tmp_path, environment)


def test_only_uploading_is_not_run() -> None:
    left_out = [block for block in blocks(GUIDE) if block.language in NOT_RUN]
    assert [line.split()[1:4] for block in left_out for line in block.text.splitlines()] == [
        ["python", "-m", "twine"],
        ["python", "-m", "twine"],
    ]


def test_every_fence_is_seen() -> None:
    for document in (GUIDE, chapter(README, "Write a component")):
        assert 2 * len(blocks(document)) == len(re.findall(r"^```", document, re.MULTILINE))


def test_python_in_the_guide_is_valid_and_uses_public_names() -> None:
    code = [block for block in blocks(GUIDE) if block.language == "python"]
    assert len(code) > 8
    for block in code:
        compile(block.text, f"line {block.line}", "exec")
        for names in re.findall(r"^from dapoctl import (.*)$", block.text, re.MULTILINE):
            assert {name.strip() for name in names.split(",")} <= set(dapoctl.__all__), block.line
        assert not re.search(r"from dapoctl\.(?!testing |config )", block.text), block.line


def test_the_table_of_stages_has_every_hook() -> None:
    rows = [line.split("|")[1:-1] for line in chapter(GUIDE, "Choosing a stage").splitlines() if line.startswith("| ")]
    said = {name: row[2].strip() for row in rows[1:] for name in re.findall(r"`(\w+)`", row[1])}
    assert said == {name: "one" if hookspecs.is_exclusive(name) else "any" for name in hookspecs.stages()}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", GUIDE):
        assert target.startswith("https://") or (ROOT / "plugins" / target).exists(), target


# The runner itself


def test_the_runner_tells_what_does_not_hold(tmp_path: Path) -> None:
    def run(*made: Block) -> None:
        walk(list(made), tmp_path, dict(os.environ))

    def block(language: str, text: str, line: int = 1, **note: str) -> Block:
        return Block(language, text, note, line)

    run(block("sh", "echo one; echo 'two  three'; echo four"), block("text", "one\ntwo three\n"))
    with pytest.raises(AssertionError, match="line 7: no further `one`"):
        run(block("sh", "echo one; echo two"), block("text", "two\none\n", 7))
    with pytest.raises(AssertionError, match="line 3 exits with 1"):
        run(block("sh", "false; true", 3))
    run(block("sh", "exit 2", exits="2"))
    run(block("python", "x = 1\n", file="a.py"), block("python", "x = 1\n", same="a.py"))
    with pytest.raises(AssertionError, match="line 5"):
        run(block("python", "x = 2\n", 5, same="a.py"))
    with pytest.raises(AssertionError, match="line 6 exits with 1"):
        run(block("python", "assert 1 == 2", 6))
    with pytest.raises(AssertionError, match="nobody knows how to run `ruby`"):
        run(block("ruby", "puts 1"))


def test_the_runner_reads_notes_and_lines() -> None:
    found = blocks("# A\n\n<!-- exits: 2; without: x -->\n```sh\na\n```\n\n```text\nb\n```\n")
    assert found == [Block("sh", "a\n", {"exits": "2", "without": "x"}, 3), Block("text", "b\n", {}, 8)]
