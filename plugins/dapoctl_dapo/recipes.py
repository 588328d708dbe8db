"""DAPO's four techniques on top of GRPO."""

from dapoctl import Recipe

DAPO = Recipe(
    purpose="Clip-higher, dynamic sampling, token-level loss and soft overlong punishment, as in DAPO's public code",
    components=("clip_higher", "dynamic_sampling", "token_mean", "overlong"),
    base="grpo",
    paper="Yu et al. 2025, DAPO, arXiv:2503.14476",
)
