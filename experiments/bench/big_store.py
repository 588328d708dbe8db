"""How long reading a large run store takes: `runs list` without and with its index, filtered; the end of a huge log.

python -m experiments.bench.big_store [--runs 1000] [--rows 1000] [--log-gb 1]

Each figure is measured in a new process, including its start-up: the best and the median of `--rounds`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dapoctl.config.resolve import load
from dapoctl.runs.files import write_json, write_lines
from dapoctl.runs.index import INDEX
from dapoctl.runs.jobs.create import create

MIB = 2**20
METRICS = [
    *(f"reward/{name}" for name in ("mean", "std")),
    *(f"score/{name}" for name in ("accuracy", "unanswered", "timeout")),
    *(f"groups/{name}" for name in ("kept", "kept_fraction", "all_wrong", "all_right")),
    *(f"response/{name}" for name in ("length_mean", "length_max", "truncated_fraction")),
    *(f"policy/{name}" for name in ("entropy", "ratio_mean", "ratio_max", "approx_kl", "grad_norm", "gkl", "loss")),
    *(f"time/{name}" for name in ("generate", "score", "update", "sync")),
    *(f"throughput/{name}_tokens_per_s" for name in ("generated", "trained")),
    "memory/peak_bytes",
]


def fill(root: Path, runs: int, rows: int) -> None:
    """A store of `runs` finished runs, each with `rows` rows of metrics and ten evaluations."""
    resolved = load([], [f"steps={rows}"], {"plugins": ["clip_higher", "gkl"]})
    first = create(resolved, root, ["bench"])
    lines = [
        {"step": step, "time": 1e9 + step, "metrics": dict.fromkeys(METRICS, step / 7)} for step in range(1, rows + 1)
    ]
    write_lines(first / "metrics.jsonl", {"kind": "metrics"}, lines)
    for step in range(1, 11):
        summary = {"step": step, "metrics": {"eval/aime24/avg@32": step / 50}}
        write_json(first / "evals" / "aime24" / f"step_{step * 100}" / "summary.json", summary)
    write_json(first / "attempts" / "1" / "exit.json", {"state": "finished", "error": ""})
    for number in range(1, runs):
        shutil.copytree(first, root / f"20260101-{number:06}-clip_higher-gkl-{number:04x}")


def measure(command: list[str], rounds: int, before: object = None) -> tuple[float, float, float]:
    """(best seconds, median seconds, peak MiB) of a command."""
    seconds, peaks = [], []
    for _ in range(rounds):
        if callable(before):
            before()
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - begun)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed with {process.returncode}")
        peaks.append(usage.ru_maxrss / 1024)
    return min(seconds), statistics.median(seconds), max(peaks)


def first_line(command: list[str]) -> tuple[float, float]:
    """(seconds to the first line of output, peak MiB so far) of a command that keeps running."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    took = time.perf_counter() - begun
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    process.kill()
    process.communicate()
    return took, peak


def main() -> None:
    """Make the store, measure, remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--log-gb", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    dapoctl = [sys.executable, "-m", "dapoctl"]
    with tempfile.TemporaryDirectory(prefix="dapoctl-store-") as scratch:
        root = Path(scratch, "runs")
        fill(root, options.runs, options.rows)
        size = sum(path.stat().st_size for path in root.rglob("*.json*")) / MIB
        print(f"{options.runs} runs x {options.rows} rows, {size:.0f} MiB")
        store = ["--runs-dir", str(root)]
        for name, command, before in (
            ("dapoctl --version", [*dapoctl, "--version"], None),
            ("runs list, no index", [*dapoctl, "runs", "list", *store], lambda: (root / INDEX).unlink(missing_ok=True)),
            ("runs list, index", [*dapoctl, "runs", "list", *store], None),
            ("runs list --json, index", [*dapoctl, "runs", "list", "--json", *store], None),
            (
                "runs list --filter, index",
                [*dapoctl, "runs", "list", "--filter", "gkl and state=finished and eval.aime24.avg>0.1", *store],
                None,
            ),
        ):
            best, median, peak = measure(command, options.rounds, before)
            print(f"{name:<28} best {best:.2f} s, median {median:.2f} s, {peak:.0f} MiB", flush=True)
        run = sorted(path for path in root.iterdir() if path.name[0] != ".")[-1]
        write_json(run / "attempts" / "2" / "proc.json", {"pid": 1})
        line = json.dumps({"text": "x" * 180}) + "\n"
        with (run / "attempts" / "2" / "stdout.log").open("w") as log:
            block = line * 5000
            for _ in range(int(options.log_gb * 2**30 / len(block))):
                log.write(block)
        import fcntl

        with (run / ".lock").open("w") as lock:
            # The run looks alive: `logs -f` follows until this process ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
            timings = [first_line([*dapoctl, "runs", "logs", run.name, "-f", *store]) for _ in range(options.rounds)]
        seconds = [took for took, _ in timings]
        print(
            f"runs logs -f, {options.log_gb:g} GB{'':<9} first line: best {min(seconds):.2f} s, median"
            f" {statistics.median(seconds):.2f} s, {max(peak for _, peak in timings):.0f} MiB"
        )


if __name__ == "__main__":
    main()
