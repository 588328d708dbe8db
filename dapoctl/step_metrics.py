"""What a step is reported as."""

from __future__ import annotations

from dapoctl.learner import Learner
from dapoctl.memory import peak_memory


def step_metrics(learner: Learner, step: int) -> dict[str, float]:
    """The step's metrics under the field's names."""
    metrics = learner.metrics
    values = metrics.result()
    defaults = {name: value for name, value in learner.default_metrics.result().items() if name not in values}
    for name in [name for name in values if name.endswith("/importance_weight")]:
        stem = name.removesuffix("weight")
        weight, square = values.pop(name), values.pop(f"{stem}square", None)
        if square:
            # Kish's effective sample size of the importance weights, as a fraction of the tokens.
            values[f"{stem}ess"] = weight**2 / square
    sampled = sum(row["tokens"] for row in learner.trace if row["step"] == step)
    for name, tokens, phase in (
        ("generated", sampled, "generate"),
        ("trained", values.pop("work/trained_tokens", 0.0), "update"),
    ):
        if metrics.seconds(phase) > 0:
            values[f"throughput/{name}_tokens_per_s"] = tokens / metrics.seconds(phase)
    values["memory/peak_bytes"] = peak_memory(learner.policy.device)
    return dict(sorted((values | defaults).items()))
