"""Responses that are sampled once, and that both sides then train on, as one JSON file."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from experiments.bench.settings import Settings

ENGINE_AND_UPDATE = ("train.", "optim.", "hf.", "vllm.")
"""Configuration that does not affect what is sampled"""


@dataclass(frozen=True)
class Response:
    """One sampled response."""

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: Literal["stop", "length"]
    reward: float


@dataclass(frozen=True)
class Group:
    """A prompt and its responses."""

    id: str
    prompt: str
    answer: str
    prompt_ids: list[int]
    rewards_from: Literal["verifier", "assigned"]
    responses: list[Response]


@dataclass(frozen=True)
class Recording:
    """Sampled responses, and the settings that gave them."""

    about: dict[str, Any]
    """Model, data, sizes and seed: the settings must match these to use the file again"""
    stop_ids: list[int]
    """Tokens that end a response"""
    groups: list[Group]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every response."""
        return [len(response.token_ids) for group in self.groups for response in group.responses]

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of every prompt."""
        return [len(group.prompt_ids) for group in self.groups]

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Recording:
        """The inverse of `write`."""
        values = json.loads(path.read_text(encoding="utf-8"))
        groups = [
            Group(**(group | {"responses": [Response(**response) for response in group["responses"]]}))
            for group in values["groups"]
        ]
        return cls(values["about"], values["stop_ids"], groups)


def describe(settings: Settings) -> dict[str, Any]:
    """The `about` of a recording for `settings`."""
    return {
        "model": Path(settings.model).name,
        "data": Path(settings.data).name or "arithmetic",
        "prompts": settings.prompts,
        "samples": settings.samples,
        "tokens": settings.tokens,
        "temperature": settings.temperature,
        "seed": settings.seed,
        "set": [text for text in settings.overrides if not text.startswith(ENGINE_AND_UPDATE)],
    }


def mismatch(recording: Recording, settings: Settings) -> str:
    """How the recording differs from `settings`; empty if it matches."""
    wanted = describe(settings)
    return ", ".join(
        f"{name} is {recording.about.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if recording.about.get(name) != value
    )


def settle_rewards(scores: list[float]) -> tuple[list[float], Literal["verifier", "assigned"]]:
    """A group's rewards: its verifier's scores if they vary, else alternately 1 and -1, so that there is a gradient."""
    if len(set(scores)) > 1:
        return scores, "verifier"
    return [1.0 - 2.0 * (index % 2) for index in range(len(scores))], "assigned"


def summary(recording: Recording) -> str:
    """One line about lengths and rewards."""
    lengths = recording.lengths
    truncated = sum(response.finish_reason == "length" for group in recording.groups for response in group.responses)
    verified = sum(group.rewards_from == "verifier" for group in recording.groups)
    spread = (
        f"all of {lengths[0]} tokens"
        if len(set(lengths)) == 1
        else f"{min(lengths)} to {max(lengths)} tokens, median {statistics.median(lengths):.0f}"
    )
    return (
        f"{len(lengths)} responses, {sum(lengths)} tokens: {spread}; {truncated} truncated; prompts of"
        f" {min(recording.prompt_lengths)} to {max(recording.prompt_lengths)} tokens; rewards from the verifier in"
        f" {verified} of {len(recording.groups)} groups, assigned in the others"
    )
