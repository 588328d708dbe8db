"""A small study: two factors, an arm, a placebo and a pilot, of four steps each."""

from __future__ import annotations

from pathlib import Path

STUDY = """
[study]
name = "small"
question = "Does anything matter?"

[base]
model = "tiny"
steps = 4

[base.rollout]
prompts = 2
samples = 4
max_response_tokens = 12

[base.optim]
lr = 1e-4
updates = 2

[base.train]
threads = 1

[base.eval]
every = 2
limit = 8

[base.checkpoint]
every = 0

[factor.clip]
off = { plugins = ["clip"] }
on = { plugins = ["clip_higher"] }

[factor.tokens]
off = { plugins = ["sequence_mean"] }
on = { plugins = ["token_mean"] }

[design]
factorial = ["clip", "tokens"]
none = "grpo"
all = "dapo"
baseline = "dapo"
seeds = [1, 2]
arm_seeds = [1, 2]
pilot = { arm = "dapo", seeds = 3 }

[outcome.middle]
metric = "eval/arithmetic/avg@1"
area = [0, 4]
role = "primary"
smallest = 0.03

[outcome.second]
metric = "eval/arithmetic/avg@1"
at = 2

[outcome.length]
metric = "response/length_mean"
at = "last"
over = 2
better = "lower"

[arm.strict]
from = "dapo"
clip_higher = { eps_high = 0.21 }

[arm.chance]
from = "grpo"
against = "grpo"
role = "placebo"
plugins = ["random_reward"]
"""


def write_study(folder: Path, text: str = STUDY) -> Path:
    """The study as a file in the folder."""
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path
