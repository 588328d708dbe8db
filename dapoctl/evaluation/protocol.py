"""How a model is prompted and sampled in an evaluation: presets, and changes to them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dapoctl.errors import UserError, nearest
from dapoctl.tasks.scorers import check_scorer

INSTRUCTION = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
    "{problem}\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)
"""The prompt of DAPO (Yu et al. 2025, arXiv:2503.14476)"""


@dataclass(frozen=True, slots=True)
class Protocol:
    """Everything that an evaluation's metrics depend on, other than model and problems."""

    name: str
    """The preset that it was made from"""
    temperature: float
    """0 is greedy"""
    top_p: float
    k: int
    """Responses per problem"""
    max_tokens: int = 1024
    """Responses are truncated here"""
    seed: int = 0
    """Each problem's responses depend on the seed and on the problem's id only"""
    scorer: str = "math"
    instruction: str = INSTRUCTION
    """The prompt; `{problem}` stands for the question. Empty if the task has its own prompts"""
    template: str = "auto"
    """`model.template`: how the text becomes a prompt"""
    engine: str = "hf"

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as in a summary."""
        return asdict(self)


PRESETS = {
    preset.name: (preset, purpose)
    for preset, purpose in (
        (Protocol("dapo", 1.0, 0.7, 32), "32 responses at temperature 1, top_p 0.7, as DAPO is evaluated"),
        (Protocol("greedy", 0.0, 1.0, 1), "the likeliest token each time, one response"),
        (Protocol("r1", 0.6, 0.95, 32), "32 responses at temperature 0.6, top_p 0.95, as DeepSeek-R1 is evaluated"),
    )
}
"""(protocol, description) by name; the first is the default"""
DEFAULT = next(iter(PRESETS))


def build_protocol(name: str | None, changes: dict[str, Any]) -> Protocol:
    """The preset called `name` with what `changes` gives a value other than None.

    Raises:
        UserError: an unknown preset or scorer, or an invalid value; the message names the option.
    """
    name = DEFAULT if name is None else name
    if name not in PRESETS:
        raise UserError(f"--protocol {name}: no such protocol.{nearest(name, [*PRESETS])} Known: {', '.join(PRESETS)}")
    given = {key: value for key, value in changes.items() if value is not None}
    protocol = Protocol(**{**PRESETS[name][0].as_dict(), **given})
    check_scorer(protocol.scorer)
    for wrong, message in (
        (protocol.k < 1, f"-k {protocol.k}: must be at least 1"),
        (protocol.max_tokens < 1, f"--max-tokens {protocol.max_tokens}: must be at least 1"),
        (not 0 <= protocol.temperature < float("inf"), f"--temperature {protocol.temperature}: must be 0 or more"),
        (not 0 < protocol.top_p <= 1, f"--top-p {protocol.top_p}: must be above 0 and at most 1"),
        (not 0 <= protocol.seed < 2**31, f"--seed {protocol.seed}: must be at least 0 and below 2^31"),
        (
            bool(protocol.instruction) and "{problem}" not in protocol.instruction,
            "--instruction: must contain {problem}, the place where the question goes",
        ),
        (
            protocol.temperature == 0 and protocol.k > 1,
            f"-k {protocol.k} at temperature 0: a greedy response is the same every time; use -k 1, or a temperature",
        ),
    ):
        if wrong:
            raise UserError(message)
    return protocol
