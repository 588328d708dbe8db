"""Drawing tokens from logits, at about the cost of reading them once.

`torch.multinomial` makes a random number for every entry of the vocabulary, one after the other on a CPU, and a full sort of
a large vocabulary takes longer than the model. Here one number is drawn per row and looked up in the cumulative
distribution, first among blocks of the vocabulary, then within one.

Shapes: b rows, V entries of the vocabulary, m candidates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.engines import Sampling

LIKELY = (1024, 16_384)
"""Numbers of most likely tokens among which the nucleus is searched before the whole vocabulary is sorted"""


def draw(logits: Tensor, sampling: Sampling, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [b] and their log-probabilities [b] under the distribution they are drawn from, from logits [b, V] and a number
    in [0, 1) for each row, float64 [b, 1].

    Greedy tokens have the log-probabilities at temperature 1.
    """
    if sampling.temperature == 0:
        tokens = logits.argmax(-1, keepdim=True)
        return tokens[:, 0], (logits.gather(1, tokens) - logits.logsumexp(-1, keepdim=True))[:, 0]
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_p == 1:
        return pick(logits, uniform)
    candidates, tokens = nucleus(logits, sampling.top_p)
    indices, logprobs = pick(candidates, uniform)
    return tokens.gather(1, indices[:, None])[:, 0], logprobs


def nucleus(logits: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The smallest set of most likely tokens with at least `top_p` of the mass (Holtzman et al. 2020, arXiv:1904.09751).

    Returns:
        Logits [b, m] in descending order, -inf outside the set; and the tokens [b, m] that they belong to.
    """
    total = logits.logsumexp(-1, keepdim=True)
    for size in (*LIKELY, logits.shape[1]):
        ordered, tokens = logits.topk(min(size, logits.shape[1]))
        probs = (ordered - total).exp()
        if bool((probs.sum(-1) >= top_p).all()):
            break
    outside = probs.cumsum(-1) - probs >= top_p
    return ordered.masked_fill(outside, float("-inf")), tokens


def pick(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Indices [b] at which the cumulative softmax(logits [b, m]) passes `uniform` [b, 1], and their log-probabilities [b]."""
    rows, count = logits.shape
    top = logits.amax(-1, keepdim=True)
    weights = (logits - top).exp_()
    size = max(1, math.isqrt(count))
    # Padding has weight zero and is never drawn.
    blocks = torch.nn.functional.pad(weights, (0, -count % size)) if count % size else weights
    blocks = blocks.view(rows, -1, size)
    sums = blocks.sum(-1).double()
    cumulative = sums.cumsum(-1)
    total = cumulative[:, -1:]
    target = uniform * total
    block = _first_above(cumulative, target)
    inside = blocks[torch.arange(rows, device=logits.device), block[:, 0]].double().cumsum(-1)
    offset = _first_above(inside, target - (cumulative - sums).gather(1, block))
    indices = block * size + offset
    return indices[:, 0], (logits.gather(1, indices) - top - total.log())[:, 0].to(logits.dtype)


def _first_above(cumulative: Tensor, target: Tensor) -> Tensor:
    """[b, 1]: the first index whose cumulative weight [b, n] is above `target` [b, 1]; despite rounding, never one without
    weight."""
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(torch.searchsorted(cumulative, target, right=True), last)
