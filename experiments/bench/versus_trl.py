"""dapoctl beside TRL's GRPOTrainer: speed and memory of an update or of a whole step; README.md says how.

python -m experiments.bench.versus_trl update --model MODEL [--data PROBLEMS.jsonl] [--tokens 96]
python -m experiments.bench.versus_trl step-hf --model MODEL ...
python -m experiments.bench.versus_trl step-vllm --model MODEL ...
python -m experiments.bench.versus_trl scaling --model MODEL [--sizes 512,1024,2048,4096,8192]
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from experiments.bench.child import BenchError, run_child
from experiments.bench.compare import check_same
from experiments.bench.measuring import MIB
from experiments.bench.recorded import Recording, mismatch, summary
from experiments.bench.report import figures, line_fit, rate, table
from experiments.bench.settings import Settings

SCALING_GROUP_TOKENS = 512
"""Trained tokens of a group in the mode `scaling`: 4 responses of 128"""
SCALING_MICRO_BATCH = 640


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit code 1 if the two sides do not compute the same or a measurement fails."""
    options = parse(arguments)
    settings = from_options(options)
    try:
        result = scaling(settings, options) if options.mode == "scaling" else versus(settings, options)
    except BenchError as error:
        print(f"bench: {error}")
        return 1
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("update", "step-hf", "step-vllm", "scaling"))
    parser.add_argument("--model", default="tiny", help="a folder, or tiny")
    parser.add_argument("--data", default="", help="problems (.jsonl); without them, additions")
    parser.add_argument("--record", type=Path, help="recorded responses; made if absent (default: under runs/bench/)")
    parser.add_argument("--record-engine", default="hf", help="hf or vllm")
    parser.add_argument("--tokens", type=int, default=96, help="of a response, at most")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8, help="responses of a prompt")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side, in turns")
    parser.add_argument("--updates", type=int, default=2, help="timed in each process, after one that warms it up")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trl-batch", default="8,16,32", help="per_device_train_batch_size; of several, the fastest")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--plugins", default="token_mean", help="dapoctl's components, for scaling")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="dapoctl's configuration")
    parser.add_argument("--sizes", default="512,1024,2048,4096,8192", help="tokens, for scaling")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args(arguments)


def from_options(options: argparse.Namespace) -> Settings:
    """The settings of the command line."""
    name = f"{Path(options.model).name}-{Path(options.data).stem or 'arithmetic'}"
    default = Path("runs", "bench", f"{name}-{options.prompts}x{options.samples}x{options.tokens}.json")
    return Settings(
        model=str(Path(options.model).resolve()) if Path(options.model).is_dir() else options.model,
        record=str((options.record or default).resolve()),
        data=str(Path(options.data).resolve()) if options.data else "",
        prompts=options.prompts,
        samples=options.samples,
        tokens=options.tokens,
        threads=options.threads,
        dtype=options.dtype,
        device=options.device,
        updates=options.updates,
        overrides=tuple(options.set),
    )


def versus(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Record, check that both sides compute the same, then measure them alternately."""
    if importlib.util.find_spec("trl") is None:
        raise BenchError("trl is not installed: pip install 'dapoctl[bench]'")
    recording = recorded(settings, options.record_engine)
    print(summary(recording), flush=True)
    batches = [int(batch) for batch in options.trl_batch.split(",")]
    if bad := [batch for batch in batches if settings.responses % batch]:
        raise BenchError(f"--trl-batch {bad}: {settings.responses} responses must be a multiple of it")
    settings = dataclasses.replace(settings, trl_batch=batches[0])
    same = check_same(settings)
    print(
        "same responses, float32: loss {dapoctl_loss:.6g} and {trl_loss:.6g}, relative difference of the gradients"
        " {gradient_difference:.1e}".format_map(same),
        flush=True,
    )
    what = "update" if options.mode == "update" else "step"
    tried = {} if len(batches) == 1 else try_batches(settings, batches)
    if tried:
        fastest = max(tried, key=lambda batch: tried[batch]["tokens_per_s"])
        settings = dataclasses.replace(settings, trl_batch=fastest)
    ours = dataclasses.replace(settings, engine="vllm" if options.mode == "step-vllm" else "hf")
    gemm = float(run_child("gemm", settings)["flops"])
    rounds = []
    for number in range(options.rounds):
        measured = {"dapoctl": run_child(f"dapoctl/{what}", ours), "trl": run_child(f"trl/{what}", settings)}
        rounds.append(measured)
        speeds = ", ".join(f"{side} {rate(result):.1f} tokens/s" for side, result in measured.items())
        print(f"round {number + 1}: {speeds}", flush=True)
    reported = figures(rounds, gemm)
    print(f"\n{options.mode}, {options.model}, {settings.threads} threads, {settings.dtype}\n{table(reported)}")
    return {"mode": options.mode, "same": same, "tried": tried, "rounds": rounds, "about": recording.about, **reported}


def recorded(settings: Settings, engine: str) -> Recording:
    """The recording of `settings`, made now if there is none.

    Raises:
        BenchError: the file has other responses.
    """
    path = Path(settings.record)
    if not path.is_file():
        run_child("record", dataclasses.replace(settings, engine=engine))
    recording = Recording.read(path)
    if difference := mismatch(recording, settings):
        raise BenchError(f"{path} holds other responses: {difference}; remove it, or name another file with --record")
    return recording


def try_batches(settings: Settings, batches: list[int]) -> dict[int, dict[str, float]]:
    """TRL's tokens/s and peak MiB in updates of each micro-batch size."""
    measurements = {}
    for batch in batches:
        tried = dataclasses.replace(settings, trl_batch=batch, updates=max(1, settings.updates // 2))
        measured = run_child("trl/update", tried)
        measurements[batch] = {"tokens_per_s": rate(measured), "peak_mib": measured["peak_bytes"] / MIB}
        print(
            f"TRL with per_device_train_batch_size={batch}: {measurements[batch]['tokens_per_s']:.1f} tokens/s,"
            f" {measurements[batch]['peak_mib']:.0f} MiB",
            flush=True,
        )
    return measurements


def scaling(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """dapoctl's update alone, one process for each size."""
    print(f"{'tokens':>7} {'seconds':>9} {'s/1000':>8} {'peak MiB':>10} {'full logits MiB':>16}")
    rows = []
    for tokens in (int(size) for size in options.sizes.split(",")):
        sized = dataclasses.replace(
            settings,
            prompts=max(1, tokens // SCALING_GROUP_TOKENS),
            tokens=128,
            plugins=tuple(options.plugins.split(",")),
            # The smallest size is one micro-batch, so sizes differ in the number of micro-batches only.
            overrides=(f"train.micro_batch_tokens={SCALING_MICRO_BATCH}", *settings.overrides),
        )
        measured = run_child("dapoctl/scaling", sized)
        seconds, count = min(measured["seconds"]), measured["tokens"][0]
        logits = 4 * count * measured["vocabulary"] / MIB
        rows.append(
            {"tokens": count, "seconds": seconds, "peak_mib": measured["peak_bytes"] / MIB, "logits_mib": logits}
        )
        print(
            f"{count:>7} {seconds:>9.2f} {1000 * seconds / count:>8.2f} {rows[-1]['peak_mib']:>10.0f} {logits:>16.1f}",
            flush=True,
        )
    result: dict[str, Any] = {"mode": "scaling", "rows": rows}
    if len(rows) > 1:
        slope, fixed, fit = line_fit([row["tokens"] for row in rows], [row["seconds"] for row in rows])
        print(f"straight line: {slope:.2f} s per 1000 tokens + {fixed:.2f} s, R^2 = {fit:.4f}")
        result |= {"seconds_per_1000": slope, "fixed_seconds": fixed, "r_squared": fit}
    return result


if __name__ == "__main__":
    raise SystemExit(main())
