"""The reported figures, from measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.bench.measuring import MIB, update_flops


@dataclass(frozen=True)
class Spread:
    """Median and range of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def rate(measured: dict[str, Any]) -> float:
    """Trained tokens per second of one process's updates or steps."""
    return float(sum(measured["tokens"]) / sum(measured["seconds"]))


def efficiency(measured: dict[str, Any], gemm_flops: float) -> float:
    """The updates' FLOP/s, as a fraction of what matrix products reach on this machine."""
    flops = update_flops(measured["parameters"], sum(measured["tokens"]))
    return float(flops / sum(measured["seconds"]) / gemm_flops)


def figures(rounds: Sequence[dict[str, dict[str, Any]]], gemm_flops: float) -> dict[str, Any]:
    """All figures of the rounds, each {"dapoctl": measured, "trl": measured}."""
    sides = {
        side: {
            "tokens_per_s": [rate(measured[side]) for measured in rounds],
            "peak_mib": [measured[side]["peak_bytes"] / MIB for measured in rounds],
            "gemm_fraction": [efficiency(measured[side], gemm_flops) for measured in rounds],
        }
        for side in ("dapoctl", "trl")
    }
    ratios = [ours / trl for ours, trl in zip(*(sides[s]["tokens_per_s"] for s in ("dapoctl", "trl")), strict=True)]
    memory = statistics.median(sides["dapoctl"]["peak_mib"]) / statistics.median(sides["trl"]["peak_mib"])
    return {"sides": sides, "ratios": ratios, "memory_ratio": memory, "gemm_flops": gemm_flops}


def table(found: dict[str, Any]) -> str:
    """The figures as text: a line per round, then medians."""
    lines = [f"{'round':>6} {'dapoctl tok/s':>14} {'trl tok/s':>10} {'ratio':>6} {'dapoctl MiB':>12} {'trl MiB':>9}"]
    ours, trl = found["sides"]["dapoctl"], found["sides"]["trl"]
    for index, ratio in enumerate(found["ratios"]):
        lines.append(
            f"{index + 1:>6} {ours['tokens_per_s'][index]:>14.1f} {trl['tokens_per_s'][index]:>10.1f} {ratio:>6.2f}"
            f" {ours['peak_mib'][index]:>12.0f} {trl['peak_mib'][index]:>9.0f}"
        )
    speed = [Spread.of(side["tokens_per_s"]) for side in (ours, trl)]
    share = [statistics.median(side["gemm_fraction"]) for side in (ours, trl)]
    lines += [
        f"trained tokens/s: dapoctl {speed[0].median:.1f}, trl {speed[1].median:.1f}; ratio {Spread.of(found['ratios'])}",
        f"peak memory above weights, gradients and optimizer state: dapoctl / trl = {found['memory_ratio']:.2f}",
        f"model FLOPs over {found['gemm_flops'] / 1e9:.1f} GFLOP/s of matrix products: dapoctl {share[0]:.0%},"
        f" trl {share[1]:.0%}",
    ]
    return "\n".join(lines)


def line_fit(tokens: Sequence[int], seconds: Sequence[float]) -> tuple[float, float, float]:
    """(seconds per 1000 tokens, fixed seconds, R^2) of a linear regression."""
    slope, intercept = statistics.linear_regression(tokens, seconds)
    return 1000 * slope, intercept, statistics.correlation(tokens, seconds) ** 2
