"""The worker process of `dapoctl.tasks.verify`, run as a script: it imports math-verify and nothing of dapoctl.

It speaks JSON lines over the socket on its standard input. End of input means that the parent is gone: it exits.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import resource
import signal
import socket
from typing import Any

MEMORY = 2 << 30
"""Bytes of address space; more than that is a runaway power or factorial, which must not take the machine down."""
GRACE = 1.0
"""Seconds past the limit after which the kernel ends a worker whose parent did not (because it is gone)."""
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
        outcome, extracted = judge(request["gold"], request["answer"], request["marked"])
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
def judge(gold: str, answer: str, marked: bool) -> tuple[str, str | None]:
    """The outcome, and the answer as math-verify read it. `marked`: `answer` is an answer, not prose that holds one."""
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
        right = verify(truth, parsed, timeout_seconds=None, raise_on_error=True)
        return ("right" if right else "wrong"), extracted
    except Exception:  # noqa: BLE001 - a failure in computer algebra is a verdict
        return "error", answer[:EXTRACTED] if marked else None


@functools.lru_cache(maxsize=4096)
def parse_gold(gold: str) -> list[Any]:
    """The ground truth in math-verify's terms."""
    from math_verify import parse

    parsed: list[Any] = parse(as_math(gold), parsing_timeout=None)
    return parsed


def as_math(text: str) -> str:
    """`text` between dollars, unless it brings its own delimiters."""
    return text if any(mark in text.replace("\\$", "") for mark in ("$", "\\(", "\\[")) else f"${text}$"


if __name__ == "__main__":
    main()
