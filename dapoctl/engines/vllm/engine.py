"""vLLM in the trainer's process: requests, weights in, memory given back and taken."""

from __future__ import annotations

import random
import tempfile
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Literal

from dapoctl.engines import Completion, Sampling
from dapoctl.engines.vllm import needs
from dapoctl.engines.vllm.needs import CPU_CACHE_GB, GIB
from dapoctl.engines.vllm.process import brief, load_vllm, release, undisturbed
from dapoctl.errors import EngineError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from torch import Tensor, nn

    from dapoctl.config import RunConfig
    from dapoctl.engines.vllm import Vllm
    from dapoctl.models.policy import Policy


class VllmEngine:
    """vLLM with a copy of the policy's weights.

    Log-probabilities are those of the distribution that was sampled from, temperature and top_p applied; for greedy
    responses, those at temperature 1.

    Raises:
        EngineError: vLLM is not installed, or cannot start on this machine with these settings.
    """

    def __init__(self, settings: Vllm, policy: Policy, config: RunConfig) -> None:
        vllm = load_vllm()
        self._policy = policy
        self._cpu = policy.device.type == "cpu"
        self._sleeps = settings.sleep and not self._cpu
        self._asleep: set[str] = set()
        self._dtype = _dtype(settings, self._cpu)
        self.rounds = _rounds(policy, self._dtype)
        """Whether weights are rounded at random on their way here"""
        self._sampling_params: Any = vllm.SamplingParams
        self.max_tokens = _max_tokens(policy, config)
        """Room for a prompt and its response together."""
        self.progress: Callable[[int, int], None] = lambda _done, _total: None
        self.finished: Callable[[int, list[Completion]], None] = lambda _index, _group: None
        self._llm: Any = None
        try:
            with undisturbed(), tempfile.TemporaryDirectory() as folder:
                source = _source(policy, folder)
                self._llm = vllm.LLM(**source, **_arguments(settings, config, self._cpu, self.max_tokens))
            self.load_weights(policy.named_weights())
        except Exception as error:
            self.close()
            raise EngineError(_start_failure(error, settings, self._cpu)) from error

    def generate(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, n: int) -> list[list[Completion]]:
        """`n` completions for each prompt; a response ends early where prompt and response fill `max_tokens`.

        Raises:
            ModelError: a prompt leaves no room for a response.
        """
        for prompt in prompt_ids:
            if len(prompt) >= self.max_tokens:
                raise ModelError(
                    f"a prompt of {len(prompt)} tokens leaves no room for a response: the engine holds {self.max_tokens} "
                    "tokens, prompt and response together. Raise rollout.max_prompt_tokens where the model's context "
                    "allows it, or leave out prompts as long as this"
                )
        self.wake()
        # A greedy response is the same every time, and vLLM refuses to make several.
        samples = 1 if sampling.temperature == 0 else n
        # vLLM seeds sample j of a request with seed + j: apart by n, no two responses of a call share a stream.
        seed = random.Random(sampling.seed).getrandbits(62)
        seeds = [random.Random(own).getrandbits(62) for own in sampling.seeds] or [
            seed + i * n for i in range(len(prompt_ids))
        ]
        params = [self._params(sampling, samples, own) for own in seeds]
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in prompt_ids]
        with ExitStack() as stack:
            self._isolate(stack)
            results: dict[int, list[Completion]] = {}
            for index, outputs in stack.enter_context(closing(self._run(prompts, params))):
                results[index] = [_completion(output) for output in outputs] * (n // samples)
                self.progress(len(results) * n, len(prompts) * n)
                self.finished(index, results[index])
        return [results[index] for index in range(len(prompts))]

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load the policy's weights: (name, tensor) pairs in the names of the model's checkpoint."""
        self._wake("weights")
        pairs: Iterable[tuple[str, Tensor]] = ((name, tensor.detach()) for name, tensor in weights)
        if self.rounds:
            import torch

            from dapoctl.models.rounding import rounded_weights

            pairs = rounded_weights(pairs, getattr(torch, self._dtype))
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": pairs})
        if self._cpu:
            self._llm.apply_model(repack_tied_heads)
        self._llm.reset_prefix_cache()

    def sleep(self) -> None:
        """Free the GPU memory of weights and KV cache, if `vllm.sleep` is set."""
        if self._sleeps and not self._asleep:
            self._llm.sleep(level=2)
            self._asleep = {"weights", "kv_cache"}

    def wake(self) -> None:
        """Take the memory back; weights that were not loaded since are the policy's current ones."""
        if "weights" in self._asleep:
            self.load_weights(self._policy.named_weights())
        self._wake("kv_cache")

    def close(self) -> None:
        """Shut vLLM down and free its memory, so that another engine can be built in this process."""
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
        del llm
        release()

    def _wake(self, part: str) -> None:
        if part in self._asleep:
            import torch

            # vLLM maps its memory beside torch's allocator, which would otherwise keep what the update has freed.
            torch.cuda.empty_cache()
            self._llm.wake_up(tags=[part])
            self._asleep.discard(part)

    def _params(self, sampling: Sampling, n: int, seed: int) -> Any:
        return self._sampling_params(
            n=n,
            seed=seed,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            # The policy alone says what ends a response, not the tokenizer or generation config that vLLM reads.
            ignore_eos=True,
            stop_token_ids=list(self._policy.eos_token_ids),
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
        )

    def _isolate(self, stack: ExitStack) -> None:
        import torch

        # vLLM's CPU sampler draws from torch's global generator even where every request has a seed.
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if self._cpu:
            # Otherwise the first call compiles helpers of the sampler: half a minute, and a C++ compiler is needed.
            stack.enter_context(torch.compiler.set_stance("force_eager"))

    def _run(self, prompts: list[dict[str, list[int]]], params: list[Any]) -> Generator[tuple[int, list[Any]]]:
        """(index in `prompts`, outputs) of each request as it finishes; `LLM.generate` returns only at the end."""
        engine = self._llm.llm_engine
        # What an earlier call left in the prefix cache would change the last bits, and with them some samples.
        self._llm.reset_prefix_cache()
        try:
            # A request is known by the number that its internal id begins with.
            ids = self._llm.enqueue(prompts, params, use_tqdm=False)
            indices = {name.partition("-")[0]: index for index, name in enumerate(ids)}
            while engine.has_unfinished_requests():
                for request in engine.step():
                    if request.finished:
                        yield indices[request.request_id], request.outputs
        except BaseException:
            # An interrupted call must not leave requests behind that come back as answers to the next.
            engine.abort_request(list(engine.output_processor.request_states), internal=True)
            raise


def repack_tied_heads(model: nn.Module) -> None:
    """Renew the packed copy of every output head that shares the embedding's weight.

    On a CPU, vLLM multiplies with a packed copy of each weight. A reload packs every layer that it loads again, but a
    tied head has no weight of its own in a checkpoint, so its copy would keep the old values.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    tables: list[Any] = [module for module in model.modules() if isinstance(module, VocabParallelEmbedding)]
    heads: list[Any] = [table for table in tables if isinstance(table, ParallelLMHead)]
    shared = {table.weight.data_ptr() for table in tables if not isinstance(table, ParallelLMHead)}
    for head in heads:
        if head.weight.data_ptr() in shared:
            head.quant_method.process_weights_after_loading(head)


def _max_tokens(policy: Policy, config: RunConfig) -> int:
    limit = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    wanted = config.rollout.max_prompt_tokens + config.rollout.max_response_tokens
    return min(wanted, limit) if limit else wanted


def _source(policy: Policy, folder: str) -> dict[str, Any]:
    if not policy.path.endswith(".gguf"):
        return {"model": policy.path}
    # vLLM does not read GGUF files; it gets the model's shape from here, and the weights with the first sync.
    policy.model.config.save_pretrained(folder)
    return {"model": folder, "load_format": "dummy"}


def _dtype(settings: Vllm, cpu: bool) -> str:
    """`vllm.dtype`, with auto resolved."""
    return settings.dtype if settings.dtype != "auto" else ("float32" if cpu else "bfloat16")


def _rounds(policy: Policy, dtype: str) -> bool:
    """Whether the policy computes with other bits of its weights than the engine has: adapters add theirs to the result, and a
    float32 policy has all. One that computes in the engine's type rounds to the nearest itself, and the engine does the same.
    """
    if dtype == "float32":
        return False
    return policy.adapters is not None or str(policy.compute_dtype) != f"torch.{dtype}"


def _arguments(settings: Vllm, config: RunConfig, cpu: bool, max_tokens: int) -> dict[str, Any]:
    kv_cache_gb = settings.kv_cache_gb or (CPU_CACHE_GB if cpu else None)
    arguments = {
        "trust_remote_code": config.model.trust_remote_code,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "language_model_only": True,
        "dtype": _dtype(settings, cpu),
        "kv_cache_dtype": settings.kv_cache_dtype,
        "seed": config.seed,
        "max_model_len": max_tokens,
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": settings.prefix_caching,
        "enforce_eager": cpu if settings.enforce_eager is None else settings.enforce_eager,
        "enable_sleep_mode": settings.sleep and not cpu,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "kv_cache_memory_bytes": int(kv_cache_gb * GIB) if kv_cache_gb else None,
        "max_num_seqs": settings.max_num_seqs or (None if cpu else needs.SEQUENCES),
        "max_num_batched_tokens": needs.batch_tokens(cpu, max_tokens),
        "use_tqdm_on_load": False,
        "disable_log_stats": True,
    }
    if cpu:
        # A prompt that is prefilled in parts undoes a random draw of its own, which a CPU's generator cannot.
        arguments |= {"enable_chunked_prefill": False}
    return {name: value for name, value in arguments.items() if value is not None}


def _completion(output: Any) -> Completion:
    reason: Literal["stop", "length"] = "stop" if output.finish_reason == "stop" else "length"
    return Completion(list(output.token_ids), list(output.logprobs.logprobs), reason)


def _start_failure(error: Exception, settings: Vllm, cpu: bool) -> str:
    reason = brief(error)
    if "memory" in reason.lower():
        share = "" if cpu else f" or vllm.gpu_memory_utilization (now {settings.gpu_memory_utilization})"
        now = settings.kv_cache_gb or (f"{CPU_CACHE_GB:g}" if cpu else "automatic")
        fix = f"Change vllm.kv_cache_gb (GiB, now {now}){share}, or lower rollout.max_response_tokens"
    else:
        fix = 'Set engine = "hf" for a model or a machine that vLLM does not support'
    return f"engine `vllm` could not start: {reason}. {fix}"
