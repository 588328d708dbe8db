"""The verifier's processes: no response can stop them, and none outlives its parent.

Processes: the pool's workers, hung, killed and orphaned.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from dapoctl.tasks import answers
from dapoctl.tasks.verify import Verdict, Verifier
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.process

HANG = "Answer: $9^{9^{9^9}}$"
NEEDS_WORKER = "Answer: $\\frac{1080}{2}$"


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    pool = Verifier(workers=2, limit_s=10)
    yield pool
    pool.close()


def wait_until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    """Poll `condition`; the test fails when it does not come true."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def in_thread(pool: Verifier, text: str, gold: str) -> tuple[threading.Thread, list[Verdict]]:
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(pool.verify(text, gold)))
    thread.start()
    return thread, verdicts


def test_a_hang_costs_one_worker() -> None:
    pool = Verifier(workers=2, limit_s=1.5)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: pool.verify(NEEDS_WORKER, "540"), range(20)))
    before = pool.pids()
    start = time.monotonic()
    verdict = pool.verify(HANG, "540")
    assert verdict.outcome == "timeout"
    assert verdict.extracted == "9^{9^{9^9}}"
    assert 1.4 < time.monotonic() - start < 5
    assert len(set(before) - set(pool.pids())) == 1
    assert not any(alive(pid) for pid in set(before) - set(pool.pids()))
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    pool.close()
    assert pool.pids() == []


def test_a_worker_killed_while_idle_is_replaced_unseen() -> None:
    pool = Verifier(workers=1)
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    assert pid not in pool.pids()
    pool.close()


@pytest.mark.slow
def test_a_pair_that_kills_two_workers_is_an_error() -> None:
    pool = Verifier(workers=1, limit_s=30)
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    thread, verdicts = in_thread(pool, HANG, "540")
    while thread.is_alive():
        for pid in pool.pids():
            # A worker that has only started has used less; each that got to the pair is killed.
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if sum(psutil.Process(pid).cpu_times()[:2]) > 2:
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    thread.join(10)
    assert verdicts == [Verdict("error", "9^{9^{9^9}}")]
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    pool.close()


def test_interrupts_do_not_reach_workers() -> None:
    pool = Verifier(workers=1)
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    (pid,) = pool.pids()
    assert os.getpgid(pid) != os.getpgid(0)
    os.kill(pid, signal.SIGINT)
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    assert pool.pids() == [pid]
    pool.close()


def test_closing_ends_a_pair_under_way() -> None:
    pool = Verifier(workers=1, limit_s=60)
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    (pid,) = pool.pids()
    thread, verdicts = in_thread(pool, HANG, "540")
    wait_until(lambda: psutil.Process(pid).cpu_times().user > 1)
    pool.close()
    thread.join(10)
    assert verdicts[0].outcome == "error"
    assert pool.pids() == []
    assert pool.verify(NEEDS_WORKER, "540").outcome == "error"


def test_workers_die_with_their_parent() -> None:
    script = """
        import threading, time
        from dapoctl.tasks.verify import Verifier
        pool = Verifier(workers=2, limit_s=2)
        texts = ["Answer: $9^{9^{9^9}}$", "Answer: $540^1$"]
        threads = [threading.Thread(target=pool.verify, args=(text, "540")) for text in texts]
        for thread in threads: thread.start()
        threads[1].join()
        while len(pool.pids()) < 2: time.sleep(0.01)
        print(*pool.pids(), flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_threads_share_the_workers(verifier: Verifier) -> None:
    def judge(number: int) -> bool:
        gold = number if number % 2 else number + 1
        return verifier.verify(f"Answer: $\\frac{{{2 * number}}}{{2}}$", str(gold)).outcome == "right"

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(judge, range(100, 200))) == [bool(number % 2) for number in range(100, 200)]
    assert len(verifier.pids()) == 2


@pytest.mark.slow
def test_workers_run_at_the_same_time() -> None:
    """Slow: two answers that take all the time there is."""
    pool = Verifier(workers=2, limit_s=3)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: pool.verify(NEEDS_WORKER, "540"), range(20)))
        assert len(pool.pids()) == 2
        start = time.monotonic()
        assert [verdict.outcome for verdict in threads.map(lambda _: pool.verify(HANG, "540"), range(2))] == [
            "timeout"
        ] * 2
    assert time.monotonic() - start < 5.5
    pool.close()


def hostile_texts() -> list[str]:
    rng = random.Random(1)
    pieces = [
        "{",
        "}",
        "\\boxed{",
        "$",
        "\\(",
        "\\)",
        "\\frac{",
        "^",
        "_",
        "Answer:",
        "\x00",
        "\x1b[31m",
        "9",
        ",",
        "=",
        "\n",
    ]
    texts = ["".join(rng.choice(pieces) for _ in range(rng.randrange(1, 40))) for _ in range(80)]
    runs = [
        "{",
        "}",
        "$",
        "\\boxed{",
        "\\(",
        "Answer:",
        "*",
        " ",
        "9",
        "\x00",
        "\ud800",
        "\n",
        "(",
        "\\",
        "-",
        "🙂",
        "Answer: {",
    ]
    texts += [run * 3000 for run in runs]
    texts += ["Answer: " + run * 200 for run in runs] + [
        "answer" + " *" * 1400,
        "Answer: " + "9" * 10_000,
        "a" * 5_000_000,
    ]
    texts += ["Answer: __import__('os').system('false')", "Answer: $" + "\\frac{1}{" * 30 + "2" + "}" * 30 + "$"]
    return texts


@pytest.mark.slow
def test_hostile_texts_are_survived() -> None:
    texts = hostile_texts()
    assert len(texts) >= 100
    pool = Verifier(workers=2, limit_s=2)
    with ThreadPoolExecutor(2) as threads:
        outcomes = [verdict.outcome for verdict in threads.map(lambda text: pool.verify(text, "123456"), texts)]
    assert "right" not in outcomes
    assert outcomes.count("timeout") <= 10
    assert pool.verify(NEEDS_WORKER, "540").outcome == "right"
    pool.close()


def test_extraction_is_fast_on_hostile_texts() -> None:
    for text in hostile_texts():
        start = time.process_time()
        answers.extract(text)
        assert time.process_time() - start < 0.5, text[:40]


def test_importing_the_verifier_is_light() -> None:
    code = "import sys, dapoctl.tasks.verify, dapoctl.tasks.math; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "datasets", "math_verify", "sympy"} & set(loaded)


def test_workers_import_neither_torch_nor_dapoctl(verifier: Verifier) -> None:
    assert verifier.verify(NEEDS_WORKER, "540").outcome == "right"
    for pid in verifier.pids():
        maps = {Path(entry.path).name for entry in psutil.Process(pid).memory_maps()}
        assert not any(name.startswith(("libtorch", "_pydantic_core")) for name in maps)
