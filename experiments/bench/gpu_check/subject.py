"""What is measured: a model of Gemma 3 4B's shape with random weights, and responses of full length.

With `dry` everything is small and on the CPU, which proves the script and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from dapoctl import Completion, Problem, Score
from dapoctl.batch import Batch
from dapoctl.components.resolver import build, choose
from dapoctl.config import RunConfig
from dapoctl.doctor.gpus import KNOWN
from dapoctl.engines.hf import HfEngine
from dapoctl.models import varlen
from dapoctl.models.loading import load_policy, packs_exactly
from dapoctl.models.lora import add_adapters, cast_frozen
from dapoctl.models.packing import register
from dapoctl.models.policy import Policy
from dapoctl.training.batching import build_batch
from dapoctl.training.learner import History, Learner
from dapoctl.training.optimizer import build_optimizer

GEMMA_4B = {
    "vocab_size": 262_208, "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 1024,
    "max_position_embeddings": 131_072,
}  # fmt: skip
SMALL = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "sliding_window": 64, "max_position_embeddings": 4096,
}  # fmt: skip
RANK = 32


@dataclass(frozen=True)
class Subject:
    """Where and how large."""

    dry: bool

    @property
    def device(self) -> torch.device:
        """The first GPU, or the CPU."""
        return torch.device("cpu" if self.dry else "cuda")

    @property
    def shape(self) -> dict[str, Any]:
        """Of the model."""
        return SMALL if self.dry else GEMMA_4B

    @property
    def flops(self) -> float | None:
        """bfloat16 operations in a second by the data sheet; None for a GPU that is not known."""
        name = "" if self.dry else torch.cuda.get_device_name().lower().replace(" ", "")
        return next((gpu.flops for word, gpu in KNOWN.items() if word in name), None)

    def policy(self, rank: int) -> Policy:
        """Random weights: all trained in float32, or frozen in bfloat16 with adapters."""
        config = Gemma3TextConfig(**self.shape)
        torch.set_default_dtype(torch.bfloat16 if rank else torch.float32)
        try:
            with self.device:
                model = Gemma3ForCausalLM(config)
        finally:
            torch.set_default_dtype(torch.float32)
        adapters = None
        if rank:
            model.requires_grad_(False)
            adapters = add_adapters(model, RunConfig(lora={"rank": rank}), "random")  # type: ignore[arg-type]
            cast_frozen(model, torch.bfloat16)
            model.to(self.device)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        small = RunConfig(rollout={"max_prompt_tokens": 9, "max_response_tokens": 9}, train={"device": "cpu"})  # type: ignore[arg-type]
        policy = Policy("random", model, load_policy(small).tokenizer, self.device, torch.bfloat16, adapters=adapters)
        policy.packs = register(model) and packs_exactly(policy)
        policy.varlen = policy.packs and not varlen.obstacle(policy)
        return policy

    def learner(self, policy: Policy, **optim: Any) -> Learner:
        """DAPO's update of the policy."""
        config = RunConfig(
            recipe="dapo",
            optim={"lr": 1e-6, **optim},  # type: ignore[arg-type]
            train={"gradient_checkpointing": True, "micro_batch_tokens": 8192},  # type: ignore[arg-type]
        )
        learner = Learner(
            config=config,
            pipeline=build(choose(config.recipe, [], [config.task, config.engine]), {}),
            policy=policy,
            reference=None,
            engine=HfEngine(policy, 1),  # type: ignore[arg-type]
            optimizer=build_optimizer(config, policy),
            problems=[],
            prompt_ids=[],
            history=History.empty(0),
        )
        learner.pipeline.attach(learner.metrics.add)
        return learner

    def batch(self, groups: int, samples: int, prompt: int, response: int) -> Batch:
        """Random responses of full length, right and wrong ones in each group."""
        draw = torch.Generator().manual_seed(0)

        def tokens(count: int) -> list[int]:
            return torch.randint(5, self.shape["vocab_size"] - 1, (count,), generator=draw).tolist()

        completions = [
            [Completion(tokens(response), [-1.0] * response, "length") for _ in range(samples)] for _ in range(groups)
        ]
        scores = [Score(1.0 if row % 2 else -1.0, bool(row % 2)) for row in range(groups * samples)]
        problems = [Problem(str(group), "", "") for group in range(groups)]
        prompts = [tokens(prompt) for _ in problems]
        return build_batch(
            problems, prompts, completions, [""] * len(scores), scores, step=1, max_response_tokens=response
        )

    def wait(self) -> None:
        """Until the GPU has done what it was given."""
        if not self.dry:
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], object], times: int = 3) -> float:
        """Of a call, after one to warm up."""
        call()
        self.wait()
        begun = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return (time.perf_counter() - begun) / times

    def kernels(self, call: Callable[[], object], top: int = 8) -> str:
        """The dearest operations of a call, with milliseconds and calls."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU if self.dry else ProfilerActivity.CUDA]) as recorded:
            call()
            self.wait()
        taken = [
            (
                (event.self_cpu_time_total if self.dry else event.self_device_time_total) / 1e3,
                event.key[:60],
                event.count,
            )
            for event in recorded.key_averages()
        ]
        return "; ".join(f"{name} {ms:.1f} ms x{count}" for ms, name, count in sorted(taken, reverse=True)[:top])

    def peak(self) -> float:
        """GB of the GPU at most since `forget_peak`."""
        return 0.0 if self.dry else torch.cuda.max_memory_allocated() / 1e9

    def forget_peak(self) -> None:
        """Begin to count anew, with what is not used given back."""
        if not self.dry:
            import gc

            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
