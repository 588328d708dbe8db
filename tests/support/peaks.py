"""Peak memory of a real update and a real rollout in a fresh process: `python -m tests.support.peaks SETTINGS`, both JSON.

What the process holds after its imports is subtracted. Lengths are those that the estimate assumes: every prompt and
every response as long as allowed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch

from dapoctl import Batch, Completion, Problem, Score
from dapoctl.engines import Sampling
from dapoctl.training.batching import build_batch
from dapoctl.training.learner import Learner
from dapoctl.training.step import estimate, update
from tests.support.learners import make_learner


def status(field: str) -> int:
    """A size in /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def settle() -> None:
    """Give back what is free, so that what comes next is not hidden in it."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def peak_of(action: Any) -> int:
    """The largest resident set while `action` runs."""
    settle()
    Path("/proc/self/clear_refs").write_text("5")
    action()
    return status("VmHWM")


def longest_batch(learner: Learner) -> Batch:
    """Random prompts and responses of full length, with random scores."""
    rollout = learner.config.rollout
    generator = torch.Generator().manual_seed(0)
    vocabulary = learner.policy.head.linear.weight.shape[0]

    def ids(count: int) -> list[int]:
        return torch.randint(3, vocabulary, (count,), generator=generator).tolist()

    length = rollout.max_response_tokens
    completions = [
        [Completion(ids(length), [-1.0] * length, "length") for _ in range(rollout.samples)]
        for _ in range(rollout.prompts)
    ]
    right = [place % 2 == 0 for place in range(rollout.prompts * rollout.samples)]
    batch = build_batch(
        [Problem(str(place), "", "") for place in range(rollout.prompts)],
        [ids(rollout.max_prompt_tokens) for _ in range(rollout.prompts)],
        completions,
        ["" for _ in right],
        [Score(float(r), r) for r in right],
        step=1,
        max_response_tokens=length,
    )
    return estimate(learner, batch)


def warm_up(settings: dict[str, Any]) -> None:
    """An update and a rollout of the embedded model, which import whatever they need."""
    config = {key: value for key, value in settings["config"].items() if key in ("lora", "train")}
    lengths = {"prompts": 1, "samples": 2, "max_prompt_tokens": 4, "max_response_tokens": 4}
    learner = make_learner(settings["plugins"], rollout=lengths, **config)
    batch = longest_batch(learner)
    update(learner, batch, 1)
    learner.engine.generate(batch.prompt_ids, Sampling(4, 1.0, 1.0, 0), 2)


def main(settings: dict[str, Any]) -> dict[str, int]:
    """Bytes above the baseline: `loaded`, `updating`, `held` after an update, `generating`."""
    torch.set_num_threads(1)
    warm_up(settings)
    settle()
    baseline = status("VmRSS")
    learner = make_learner(settings["plugins"], **settings["config"])
    learner.policy.eos_token_ids.clear()
    found = {"baseline": baseline, "loaded": status("VmRSS") - baseline}
    batch = longest_batch(learner)
    update(learner, batch, 1)
    found["updating"] = peak_of(lambda: update(learner, batch, 1)) - baseline
    settle()
    found["held"] = status("VmRSS") - baseline
    rollout = learner.config.rollout
    sampling = Sampling(rollout.max_response_tokens, rollout.temperature, rollout.top_p, 0)
    peak = peak_of(lambda: learner.engine.generate(batch.prompt_ids, sampling, rollout.samples))
    return found | {"generating": peak - baseline}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
