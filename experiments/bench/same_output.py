"""Whether two versions of dapoctl print the same: every command that reads, in every form, byte by byte.

python -m experiments.bench.same_output --before VENV/bin/dapoctl --after .venv/bin/dapoctl --store DIR
python -m experiments.bench.same_output --before VENV/bin/dapoctl --record FILE --store DIR
python -m experiments.bench.same_output --against FILE --after .venv/bin/dapoctl --store DIR

Each side works on a copy of the store, at the same path. The exit code is 1 if something differs that programs read: the output
under --json, --csv or --markdown. A file `commands.txt` in the store adds commands, each line the forms and the command.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from experiments.bench.commands import CHANGING, READING, VOLATILE, expand, facts_of

Output = dict[str, Any]

FORMS = {"n": "80 columns", "w": "160 columns", "p": "pipe", "j": "--json", "m": "--markdown", "c": "--csv"}
MACHINE = ("--json", "--markdown", "--csv")

WALK = """
import json, typer.main, dapoctl.cli
def walk(node, path):
    return [path] + [page for name, each in getattr(node, "commands", {}).items() for page in walk(each, [*path, name])]
print(json.dumps(walk(typer.main.get_command(dapoctl.cli.app), [])))
"""
"""Prints the words of every command, hidden ones included"""


class Side:
    """One version of dapoctl, at work in `place`."""

    def __init__(self, dapoctl: Path, place: Path) -> None:
        self.dapoctl, self.place = dapoctl.absolute(), place
        kept = {
            name: text
            for name, text in os.environ.items()
            if not re.match("DAPOCTL_|CUDA_|COLUMNS|LINES|PYTHONPATH", name)
        }
        paths = {"DAPOCTL_RUNS": str(place / "store"), "DAPOCTL_LEASES": str(place / "leases")}
        self.env = kept | paths | {"NO_COLOR": "1", "TERM": "dumb", "TZ": "UTC", "HF_HUB_OFFLINE": "1"}
        self.roots = self.python("import json, sys, dapoctl; print(json.dumps([sys.prefix, dapoctl.__path__[0][:-8]]))")

    def python(self, code: str) -> Any:
        """What a program in this version's environment prints as JSON."""
        command, folder = [str(self.dapoctl.parent / "python"), "-c", code], self.place / "work"
        return json.loads(subprocess.check_output(command, env=self.env, cwd=folder))

    def output(self, words: list[str], form: str) -> Output:
        """What a command writes to stdout and stderr, and its exit code."""
        terminal, options = form in "nw", [FORMS[form]] if FORMS[form] in MACHINE else []
        env = self.env | ({"COLUMNS": FORMS[form].split()[0], "LINES": "50"} if terminal else {})
        reader, writer = pty.openpty() if terminal else os.pipe()
        if terminal:  # lines end as they are written
            modes = termios.tcgetattr(writer)
            modes[1] &= ~termios.OPOST
            termios.tcsetattr(writer, termios.TCSANOW, modes)
        command, folder, printed = [str(self.dapoctl), *words, *options], self.place / "work", b""
        with tempfile.TemporaryFile() as stderr, os.fdopen(reader, "rb", 0) as stdout:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=writer, stderr=stderr, env=env, cwd=folder
            )
            os.close(writer)
            with contextlib.suppress(OSError):  # which is how a terminal ends
                while piece := stdout.read(65536):
                    printed += piece
            code = process.wait()
            stderr.seek(0)
            out, err = (self.settled(shlex.join(words), text) for text in (printed, stderr.read()))
        return {"out": out, "err": err, "code": code}

    def settled(self, command: str, written: bytes) -> str:
        """Text without what belongs to the checkout or the minute."""
        text = written.decode("utf-8", "backslashreplace")
        for root in self.roots:
            text = text.replace(root, "CHECKOUT")
        for beginning, pattern, instead in VOLATILE:
            text = re.sub(pattern, instead, text) if command.startswith(beginning) else text
        return text

    def everything(self, only: str) -> dict[str, Output]:
        """What is written by each command whose name in the report matches `only`."""
        store, work = self.place / "store", self.place / "work"
        facts = facts_of(store, work, json.loads(self.output(["plugins", "list"], "j")["out"]))
        lines = more.read_text("utf-8").splitlines() if (more := store / "commands.txt").is_file() else []
        rows = [*READING, *((command, "", forms) for forms, command in (line.split(maxsplit=1) for line in lines))]
        tasks = [([*page, "--help"], form) for page in self.python(WALK) for form in "nw"] + expand(rows, facts)
        tasks = [task for task in tasks if re.search(only, name_of(*task))]
        with ThreadPoolExecutor(2) as pool:
            written = pool.map(lambda task: self.output(*task), tasks)
            found = {name_of(*task): each for task, each in zip(tasks, written, strict=True)}
        tasks = expand(CHANGING, facts)
        names = [f"{name_of(*task)}, on the copy" for task in tasks]
        if any(re.search(only, name) for name in names):
            found |= {name: self.output(*task) for name, task in zip(names, tasks, strict=True)}
            for path in sorted(path for path in (work / "made").rglob("*") if path.is_file()):
                found[f"{path.relative_to(work)}, a file"] = {"out": path.read_text("utf-8"), "err": "", "code": 0}
        return {name: each for name, each in found.items() if re.search(only, name)}


def name_of(words: list[str], form: str) -> str:
    """What a command is called in the report."""
    name = f"{shlex.join(words)}, {FORMS[form]}"
    return name if name.isprintable() else ascii(name)


@contextlib.contextmanager
def workplace(store: Path) -> Iterator[Path]:
    """A folder with a copy of the store, the same for both sides, so that they print the same paths."""
    place = Path(tempfile.gettempdir()) / "dapoctl-same-output"
    try:
        place.mkdir()
    except FileExistsError:
        raise SystemExit(f"{place} is there: another comparison works in it, or was killed; then remove it") from None
    try:
        for name in ("work", "leases"):
            (place / name).mkdir()
        shutil.copytree(store, place / "store", symlinks=True)
        for path in Path(__file__).parents[1].glob("*.toml"):
            shutil.copy(path, place / "work")
        yield place
    finally:
        shutil.rmtree(place)


def observe(dapoctl: Path, store: Path, only: str) -> dict[str, Output]:
    """Everything that one version writes. All devices are leased meanwhile, so that no waiting run starts."""
    with workplace(store) as place, contextlib.ExitStack() as held:
        side = Side(dapoctl, place)
        for device in json.loads(side.output(["gpus"], "j")["out"]):
            lease = held.enter_context((place / "leases" / f"{device['key']}.lock").open("w"))
            fcntl.flock(lease, fcntl.LOCK_EX)
            print('{"run": "somebody"}', file=lease, flush=True)
        return side.everything(only)


def compare(before: dict[str, Output], after: dict[str, Output], lines: int) -> int:
    """Print each command, and how it differs where it does; the number of those that programs read and that differ."""
    words = machine = 0
    for name in dict.fromkeys([*before, *after]):
        sides = [found.get(name, {"out": "", "err": "", "code": "no such command"}) for found in (before, after)]
        print(f"{'same' if sides[0] == sides[1] else 'DIFFERS':<8} {name}")
        if sides[0] == sides[1]:
            continue
        parts = ("out", "code") if any(form in name for form in MACHINE) else ()
        for_programs = any(sides[0][part] != sides[1][part] for part in parts)
        machine, words = machine + for_programs, words + (not for_programs)
        old, new = (f"{side['out']}\nstderr: {side['err']}\nexit code: {side['code']}".split("\n") for side in sides)
        diff = [*difflib.unified_diff(old, new, "before", "after", lineterm="", n=1)]
        diff[lines:] = [f"... {len(diff) - lines} lines more; --lines shows them"] if len(diff) > lines else []
        print("\n".join(f"    {line}" for line in diff))
    print(f"{len({*before, *after})} outputs; {machine} that programs read and {words} others differ")
    return machine


def main() -> int:
    """Compare two versions, or record one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="DAPOCTL", help="the executable of one version")
    parser.add_argument("--after", type=Path, metavar="DAPOCTL", help="of the other")
    parser.add_argument("--store", type=Path, metavar="DIR", required=True, help="runs; a copy is used")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what --before says, to be used by --against")
    parser.add_argument("--against", type=Path, metavar="FILE", help="a record in place of --before")
    parser.add_argument("--only", default="", metavar="REGEX", help="only outputs whose names match it")
    parser.add_argument("--lines", type=int, default=40, help="of each difference")
    options = parser.parse_args()
    if (options.before is None) == (options.against is None) or not (options.after or options.record):
        parser.error("give --before or --against, and --after or --record")
    if options.against:
        recorded = json.loads(options.against.read_text("utf-8")).items()
        before = {name: each for name, each in recorded if re.search(options.only, name)}
    else:
        before = observe(options.before, options.store, options.only)
    if options.record:
        options.record.write_text(json.dumps(before, indent=1), encoding="utf-8")
    after = observe(options.after, options.store, options.only) if options.after else before
    return 1 if options.after and compare(before, after, options.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
