"""The `hf` engine: samples from the trained model itself, with transformers, nothing to install or sync."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dapoctl.components.base import Component
from dapoctl.engines import Completion, Engine, Sampling
from dapoctl.engines.needs import Saving
from dapoctl.errors import ConfigError
from dapoctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from dapoctl.config import RunConfig
    from dapoctl.doctor.workload import Workload
    from dapoctl.models.policy import Policy


class Hf(Component):
    """Sample with transformers, in the training process and from its weights."""

    max_sequences: int = Field(256, ge=1)
    """Responses decoded at once; finished ones leave the batch."""

    @hookimpl
    def build_engine(self, policy: Policy) -> Engine:
        return HfEngine(policy, self.max_sequences)

    def check_run(self, config: RunConfig) -> None:
        """It samples with the policy's own weights.

        Raises:
            ConfigError: these are to be elsewhere meanwhile.
        """
        if config.train.offload_weights:
            raise ConfigError(
                "`train.offload_weights` = true: engine `hf` samples with the policy's own weights, which must be on the"
                " device; it is for engines with weights of their own, such as vllm"
            )

    def memory(self, workload: Workload) -> tuple[dict[str, int], dict[str, int]]:
        """Bytes by part while it samples, and while weights are updated: then nothing."""
        from dapoctl.engines.hf_memory import decoding

        return decoding(workload, self.max_sequences), {}

    def savings(self, workload: Workload) -> list[Saving]:
        """Fewer responses at once, down to one group."""
        fewer = [self.max_sequences >> halvings for halvings in range(1, self.max_sequences.bit_length())]
        return [Saving("max_sequences", [most for most in fewer if most >= workload.config.rollout.samples])]


class HfEngine:
    """Batched decoding with a key-value cache: prompts are read once per group, finished sequences are dropped."""

    def __init__(self, policy: Policy, max_sequences: int) -> None:
        self.policy = policy
        self.max_sequences = max_sequences
        self.progress: Callable[[int, int], None] = lambda _done, _total: None
        self.finished: Callable[[int, list[Completion]], None] = lambda _index, _group: None

    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
        """See `Engine.generate`; prompts of similar length are decoded together."""
        import torch

        def generator(seed: int) -> Any:
            return torch.Generator(self.policy.device).manual_seed(seed)

        shared = generator(sampling.seed)
        results: dict[int, list[Completion]] = {}
        order = sorted(range(len(prompt_ids)), key=lambda index: -len(prompt_ids[index]))
        at_once = max(1, self.max_sequences // n)
        training = self.policy.body.training
        self.policy.body.eval()
        try:
            # Weights are cast to the compute type once for all tokens, and not at each.
            with self.policy.merged(), torch.inference_mode(), self.policy.autocast(), self.policy.head.cast():
                for start in range(0, len(order), at_once):
                    batch = order[start : start + at_once]
                    prompts = [prompt_ids[index] for index in batch]
                    own = [generator(sampling.seeds[index]) for index in batch] if sampling.seeds else []
                    for row, group in _decode(self.policy, prompts, sampling, n, own or shared):
                        results[batch[row]] = group
                        self.progress(len(results) * n, len(order) * n)
                        self.finished(batch[row], group)
        finally:
            self.policy.body.train(training)
        return [results[index] for index in range(len(order))]

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Nothing to do: the weights are the policy's own."""

    def sleep(self) -> None:
        """Nothing to give back between calls."""

    def wake(self) -> None:
        """Always awake."""

    def close(self) -> None:
        """Nothing to release."""


def _decode(
    policy: Policy, prompts: Sequence[Sequence[int]], sampling: Sampling, n: int, generators: Any
) -> Iterator[tuple[int, list[Completion]]]:
    """(index in `prompts`, its `n` completions), each as soon as the last of them has ended.

    b = prompts x n rows, the running ones in `alive`. `generators`: one for each prompt, or one for all.
    """
    import torch
    from transformers import DynamicCache

    from dapoctl.engines.sample_tokens import draw

    device, width = policy.device, max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), policy.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    mask = mask.to(device)
    cache = DynamicCache(config=policy.model.config.get_text_config())
    output = policy.hidden(ids.to(device), mask, past_key_values=cache, use_cache=True)
    logits = policy.head.logits(output.last_hidden_state[:, -1]).repeat_interleave(n, 0)
    cache.batch_repeat_interleave(n)
    mask = mask.repeat_interleave(n, 0)
    rows = len(prompts) * n
    tokens = torch.zeros((rows, sampling.max_tokens), dtype=torch.long, device=device)
    logprobs = torch.zeros((rows, sampling.max_tokens), device=device)
    lengths = torch.full((rows,), sampling.max_tokens)
    unfinished = [n] * len(prompts)
    stops = torch.tensor(policy.eos_token_ids, device=device)
    alive = torch.arange(rows, device=device)
    for step in range(sampling.max_tokens):
        drawn, drawn_logprobs = draw(logits, sampling, _uniform(generators, unfinished, device))
        tokens[alive, step], logprobs[alive, step] = drawn, drawn_logprobs
        running = ~torch.isin(drawn, stops)
        ended = alive[~running].cpu()
        lengths[ended] = step + 1
        last = step + 1 == sampling.max_tokens or not bool(running.any())
        for row in (alive if last else ended).tolist():
            unfinished[row // n] -= 1
            if not unfinished[row // n]:
                group = slice(row // n * n, row // n * n + n)
                yield row // n, _completions(tokens[group], logprobs[group], lengths[group], policy.eos_token_ids)
        if last:
            return
        if not bool(running.all()):
            kept = torch.nonzero(running).flatten()
            alive, drawn, mask = alive[kept], drawn[kept], mask[kept]
            cache.batch_select_indices(kept)
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        output = policy.hidden(drawn[:, None], mask, past_key_values=cache, use_cache=True)
        logits = policy.head.logits(output.last_hidden_state[:, -1])


def _uniform(generators: Any, counts: Sequence[int], device: Any) -> Tensor:
    """A number in [0, 1) for each row [b, 1]; of a list of generators, the first draws for the first `counts[0]` rows, and
    so on."""
    import torch

    parts = zip(generators, counts, strict=True) if isinstance(generators, list) else [(generators, sum(counts))]
    numbers = [torch.rand(count, 1, dtype=torch.float64, device=device, generator=own) for own, count in parts]
    return torch.cat(numbers)


def _completions(tokens: Tensor, logprobs: Tensor, lengths: Tensor, stops: Sequence[int]) -> list[Completion]:
    """Of one group, from tokens and log-probabilities [n, T] that are valid up to `lengths` [n]."""
    longest = int(lengths.max())
    rows = zip(tokens[:, :longest].tolist(), logprobs[:, :longest].tolist(), lengths.tolist(), strict=True)
    return [
        Completion(row[:length], values[:length], "stop" if row[length - 1] in stops else "length")
        for row, values, length in rows
    ]
