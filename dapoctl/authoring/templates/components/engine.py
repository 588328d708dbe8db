"""Idea: an engine, which samples responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dapoctl import Completion, Component, Engine, Sampling, hookimpl

if TYPE_CHECKING:
    from dapoctl.models.policy import Policy
    from torch import Tensor


class Idea(Component):
    """Sample one prompt at a time with the `generate` of transformers: slow, but easy to try out ways of decoding with."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return PromptByPrompt(policy)


class PromptByPrompt:
    """An engine on the weights that are being trained."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
        """`n` completions for each prompt."""
        import torch

        training = self.policy.model.training
        self.policy.model.eval()
        try:
            with torch.random.fork_rng(), torch.inference_mode(), self.policy.autocast():
                groups = []
                for index, prompt in enumerate(prompt_ids):
                    torch.manual_seed(sampling.seeds[index] if sampling.seeds else sampling.seed + index)
                    groups.append(self._group(torch.tensor([prompt] * n, device=self.policy.device), sampling))
                return groups
        finally:
            self.policy.model.train(training)

    def _group(self, ids: Tensor, sampling: Sampling) -> list[Completion]:
        """A completion for each row of ids [n, L]."""
        import torch

        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        output = self.policy.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=sampling.max_tokens,
            eos_token_id=self.policy.eos_token_ids,
            pad_token_id=self.policy.pad_token_id,
            return_dict_in_generate=True,
            output_scores=True,
            **drawn,
        )
        tokens = output.sequences[:, ids.shape[1] :]
        # The scores are logits after temperature and top_p: their softmax is what a token was drawn from.
        logprobs = torch.stack(
            [
                scores.float().log_softmax(-1).gather(1, tokens[:, index, None])[:, 0]
                for index, scores in enumerate(output.scores)
            ],
            dim=1,
        )
        rows = zip(tokens.tolist(), logprobs.tolist(), strict=True)
        return [self._completion(row, values) for row, values in rows]

    def _completion(self, tokens: list[int], logprobs: list[float]) -> Completion:
        """Tokens up to and including the end-of-sequence token."""
        stops = [index for index, token in enumerate(tokens) if token in self.policy.eos_token_ids]
        length = stops[0] + 1 if stops else len(tokens)
        return Completion(tokens[:length], logprobs[:length], "stop" if stops else "length")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Nothing to do: the weights are the policy's own."""

    def sleep(self) -> None:
        """Nothing to free between calls."""

    def wake(self) -> None:
        """Always awake."""

    def close(self) -> None:
        """Nothing to release."""
