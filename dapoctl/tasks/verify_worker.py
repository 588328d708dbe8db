"""The worker process of `dapoctl.tasks.verify`, run as a script: it imports math-verify and nothing of dapoctl.

It speaks JSON lines over the socket on its standard input. End of input means that the parent is gone: it exits.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import resource
import signal
import socket
from typing import Any

MEMORY = 2 << 30
"""Bytes of address space; more than that is a runaway power or factorial, which must not take the machine down."""
GRACE = 1.0
"""Seconds past the limit after which the kernel ends a worker whose parent did not (because it is gone)."""
RELATIVE = 2e-6
"""Share of the larger number by which two may differ: `0.333333` is a third"""
DECIMAL = re.compile(r"(?P<number>-?\d{0,12}\.(?P<places>\d{2,12}))\s*(?P<percent>\\%)?", re.ASCII)
EXTRACTED = 200
"""Characters of an extracted answer that are reported."""


def main() -> None:
    """Answer requests until the parent closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for kind, limit in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))
    link = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    logging.disable(logging.CRITICAL)
    try:
        import math_verify  # noqa: F401
    except Exception as error:  # noqa: BLE001 - the parent reports it
        send(link, {"failed": f"{type(error).__name__}: {error}"})
        return
    send(link, {"ready": True})
    for line in link.makefile("rb"):
        request = json.loads(line)
        # The default action needs no Python: it also ends a worker that is stuck inside one long integer operation.
        signal.setitimer(signal.ITIMER_REAL, request["limit"] + GRACE)
        outcome, extracted = judge(request["gold"], request["answer"], request["marked"], request["exact"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(link, {"outcome": outcome, "extracted": extracted})


def send(link: socket.socket, message: dict[str, Any]) -> None:
    """One JSON line; a parent that is gone ends the process."""
    try:
        link.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        os._exit(0)


# Several samples of one problem often give the same answer.
@functools.lru_cache(maxsize=4096)
def judge(gold: str, answer: str, marked: bool, exact: bool) -> tuple[str, str | None]:
    """The outcome, and the answer as math-verify read it. `marked`: `answer` is an answer, not prose that holds one.

    `exact`: math-verify rounds to six decimal places, in which all tiny numbers are equal; these are compared by size.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    try:
        truth = parse_gold(gold)
        if marked:
            # As LaTeX alone: the other reading picks one number out of a text with several.
            parsed = parse(as_math(answer), [LatexExtractionConfig()], parsing_timeout=None)
        else:
            parsed = parse(answer, parsing_timeout=None)
        if not truth:
            return "error", answer[:EXTRACTED] if marked else None
        # math-verify's last item is the text that it read; printing an expression may never end.
        shown = answer if marked else next((element for element in reversed(parsed) if isinstance(element, str)), None)
        extracted = None if shown is None else shown[:EXTRACTED]
        if not parsed:
            return ("wrong" if marked else "unanswered"), extracted
        right = verify(truth, parsed, allow_set_relation_comp=exact, timeout_seconds=None, raise_on_error=True)
        if exact:
            right = (
                close(truth[0], parsed[0]) if right else rounds_to(gold, parsed[0], 2) or rounds_to(answer, truth[0], 5)
            )
        return ("right" if right else "wrong"), extracted
    except Exception:  # noqa: BLE001 - a failure in computer algebra is a verdict
        return "error", answer[:EXTRACTED] if marked else None


@functools.lru_cache(maxsize=4096)
def parse_gold(gold: str) -> list[Any]:
    """The ground truth in math-verify's terms."""
    from math_verify import parse

    parsed: list[Any] = parse(as_math(gold), parsing_timeout=None)
    return parsed


def close(truth: Any, answer: Any) -> bool:
    """Whether two numbers differ by little beside their size; true of what is not two numbers.

    A percentage may stand for its hundredth, as it does to math-verify.
    """
    try:
        if not (truth.is_number and answer.is_number):
            return True
        one, other = complex(truth.evalf(20)), complex(answer.evalf(20))
    except (AttributeError, TypeError, ValueError, OverflowError):
        return True
    allowed = RELATIVE * max(abs(one), abs(other))
    return any(abs(one * share - other) <= allowed * max(share, 1.0) for share in (1.0, 100.0, 0.01))


def rounds_to(text: str, exact: Any, digits: int) -> bool:
    """Whether `text` is a decimal number, with that many significant digits, to which `exact` rounds: `0.458` and 27/59."""
    match = DECIMAL.fullmatch(text)
    try:
        if match is None or len(match["number"].replace(".", "").lstrip("-0")) < digits:
            return False
        if not exact.is_number or exact.is_Integer or any(atom.is_Float for atom in exact.atoms()):
            return False
        value = complex(exact.evalf(20)) * (100 if match["percent"] else 1)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return False
    return abs(value - float(match["number"])) <= 0.5 * 10.0 ** -len(match["places"]) * (1 + 1e-9)


def as_math(text: str) -> str:
    """`text` between dollars, unless it brings its own delimiters."""
    return text if any(mark in text.replace("\\$", "") for mark in ("$", "\\(", "\\[")) else f"${text}$"


if __name__ == "__main__":
    main()
