"""The base recipe."""

from dapoctl import Recipe

GRPO = Recipe(
    purpose="Group-relative advantages, symmetric clipping, the mean over responses of the mean over their tokens",
    components=("uniform", "grpo", "clip", "sequence_mean"),
    corrections=("truncated_importance",),
    paper="Shao et al. 2024, DeepSeekMath, arXiv:2402.03300",
)
