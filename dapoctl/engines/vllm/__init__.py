"""Engine `vllm`: its settings, and what it says of itself before a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dapoctl.components.base import Component
from dapoctl.engines.needs import Package, Saving
from dapoctl.engines.vllm import needs
from dapoctl.engines.vllm.needs import GIB
from dapoctl.errors import ConfigError
from dapoctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from dapoctl.config import RunConfig
    from dapoctl.doctor.workload import Workload
    from dapoctl.engines.vllm.engine import VllmEngine
    from dapoctl.models.policy import Policy


class Vllm(Component):
    """Sample responses with vLLM, in this process and on the trainer's device.

    Finished responses make room for waiting ones, and a prompt is prefilled once for all of its responses.
    """

    paper: ClassVar[str] = "Kwon et al. 2023, Efficient Memory Management with PagedAttention, arXiv:2309.06180"

    gpu_memory_utilization: float = Field(0.4, gt=0, le=1)
    """Fraction of the GPU's memory for the engine: weights, activations and KV cache. Not used on a CPU."""
    kv_cache_gb: float | None = Field(None, gt=0)
    """Memory for the KV cache, in GiB. Default: 2 on a CPU; on a GPU, what `gpu_memory_utilization` leaves."""
    enforce_eager: bool | None = None
    """Run without compilation and CUDA graphs. Default: yes on a CPU, no on a GPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the engine's weights and KV cache; auto is float32 on a CPU and bfloat16 on a GPU."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    """Precision of the KV cache: that of the weights, or 8 bits. These hold twice as many responses at a time, and take
    log-probabilities further away from the trainer's. On a GPU."""
    sleep: bool = False
    """Free the engine's GPU memory while the policy is updated. Nothing happens on a CPU."""
    max_num_seqs: int | None = Field(None, ge=1)
    """Responses that are generated at the same time. Default: 256 on a GPU, vLLM's own on a CPU."""
    prefix_caching: bool = True
    """Prefill a prompt once for all of its responses."""

    @hookimpl
    def build_engine(self, policy: Policy, config: RunConfig) -> VllmEngine:
        from dapoctl.engines.vllm.engine import VllmEngine

        return VllmEngine(self, policy, config)

    def check_run(self, config: RunConfig) -> None:
        """vLLM computes on the first GPU that it sees, wherever the policy is.

        Raises:
            ConfigError: the policy is on another; or what only a GPU has is asked for on a CPU.
        """
        if self.kv_cache_dtype != "auto" and config.train.device == "cpu":
            raise ConfigError(f"`vllm.kv_cache_dtype` = {self.kv_cache_dtype!r}: only a GPU has it; leave it out")
        _, numbered, index = config.train.device.partition(":")
        if numbered and index != "0":
            raise ConfigError(
                f"`train.device` = {config.train.device!r}: engine `vllm` computes on the first visible GPU, not on that"
                f" one. CUDA_VISIBLE_DEVICES={index} and train.device=cuda put both there"
            )

    def mismatch(self, config: RunConfig) -> str:
        """Its kernels round otherwise than the trainer's, by 0.03 nats a token in bfloat16 and by 1e-5 in float32."""
        cpu = config.train.device == "cpu"
        exact = ("float32", "auto") if cpu else ("float32",)
        if self.dtype in exact and config.model.dtype in exact:
            return ""
        return "vLLM's kernels round otherwise than the trainer's"

    @classmethod
    def packages(cls) -> list[Package]:
        """vLLM, in one of its two distributions."""
        return [needs.package()]

    def memory(self, workload: Workload) -> tuple[dict[str, int], dict[str, int]]:
        """Bytes by part while it samples, and while weights are updated: the same, unless it sleeps."""
        parts = needs.memory(self, workload)
        return parts, {} if self.sleep and workload.device == "cuda" else parts

    def obstacle(self, workload: Workload) -> tuple[str, str, str] | None:
        """vLLM refuses to start when one sequence of full length does not fit its cache."""
        have, need = needs.cache_room(self, workload)
        if have >= need:
            return None
        room, wanted = f"{max(have, 0) / GIB:.1f} GiB", f"{need / GIB:.1f} GiB"
        text = f"vLLM's KV cache has {room}, one response of full length takes {wanted}"
        return "KV cache", text, "raise vllm.gpu_memory_utilization or vllm.kv_cache_gb"

    def savings(self, workload: Workload) -> list[Saving]:
        """On a GPU: sleep during updates, and another share of its memory, a larger one where its cache has no room."""
        if workload.device == "cpu":
            return []
        idle = "the engine's memory has room while weights are updated, so it need not be given back in each step"
        shares = [share for share in needs.UTILIZATIONS if share != self.gpu_memory_utilization]
        return [
            Saving("sleep", [True], idle),
            Saving("gpu_memory_utilization", [] if self.kv_cache_gb else shares),
        ]
