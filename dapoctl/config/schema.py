"""What can be configured, key by key."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dapoctl.components.settings import Settings


class ModelConfig(Settings):
    """The language model that is trained."""

    path: str = Field("tiny", min_length=1)
    """A hub name, a local folder in transformers format, a GGUF file, or `tiny`, the model that ships with dapoctl."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What layers compute in; auto is float32 on a CPU and bfloat16 on a GPU. Weights that are trained, log-probabilities and
    losses are float32 always. float16 has eight times the precision of bfloat16 and a narrow range, which losses are scaled to;
    some models, such as Gemma 3, exceed it."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """How a problem becomes a prompt: the tokenizer's chat template, or the plain text; auto takes the chat template if
    there is one."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Only for sources that you trust."""


class LoraConfig(Settings):
    """Low-rank adapters (LoRA) in place of the whole model; needs `pip install 'dapoctl[lora]'`."""

    rank: int = Field(0, ge=0)
    """Rank of the adapters; 0 trains every weight. With adapters the model's weights are frozen, in bfloat16 if that
    is the compute type, and the reference is the model without adapters: no second copy."""
    alpha: float = Field(32.0, gt=0)
    """Adapters count alpha / rank times, so that the learning rate need not change with the rank."""
    targets: list[str] = Field(["all-linear"], min_length=1)
    """Ends of the names of the linear layers that get adapters, such as `q_proj`; `all-linear` is all of the language
    model's, without its output head."""

    @field_validator("targets", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return [name.strip() for name in names.split(",")] if isinstance(names, str) else names

    @field_validator("targets")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        if not all(names):
            raise ValueError("the name of a layer must not be empty")
        if broken := next((name for name in names if set(name) & set("[]{}\"'")), None):
            raise ValueError(f"{broken!r} is not the name of a layer; check quotes and brackets")
        return names


class RolloutConfig(Settings):
    """How responses are sampled for training."""

    prompts: int = Field(8, ge=1)
    """P: prompts (groups) in a step's batch."""
    samples: int = Field(8, ge=1)
    """G: responses per prompt."""
    max_prompt_tokens: int = Field(512, ge=1)
    """Longer prompts are left out of training, with a warning."""
    max_response_tokens: int = Field(1024, ge=1)
    """Responses are truncated here."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; the trained policy is the tempered one."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling; 1 samples from the whole distribution, which is what the policy gradient assumes."""


class OptimConfig(Settings):
    """AdamW."""

    lr: float = Field(1e-6, gt=0)
    """Learning rate, constant after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises linearly."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay, on matrices only."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the gradient's moving average."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the squared gradient's moving average."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest global gradient norm."""
    states: Literal["float32", "bfloat16", "8bit", "offload"] = "float32"
    """How AdamW's two averages are kept between updates: in 8 bytes a weight (float32), 4 (bfloat16), 2 (8bit), or in the
    host's memory and none on the GPU (offload: exact, and slower). Updates are computed in float32 always."""
    master_weights: bool = False
    """Keep the layers' matrices in the type that they compute in (`model.dtype`), beside float32 master copies that are
    updated: the same updates to the bit, without rounding each weight again for every micro-batch. With `states` = offload the
    master copies are in the host's memory, too, and a weight takes 2 bytes on the GPU and not 4."""
    updates: int = Field(1, ge=1)
    """Optimizer updates per step: the step's groups are dealt out to this many optimizer batches."""


class TrainConfig(Settings):
    """How an update is computed; none of it changes the gradient."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto, cpu, cuda or cuda:N."""
    threads: int | None = Field(None, ge=1)
    """Threads for computing on a CPU; by default torch's choice, one per core. Small models are no faster with several, and
    far slower beside other work."""
    micro_batch_tokens: int | None = Field(None, ge=1)
    """Tokens that go through the model at once, a prompt counting once for its responses; a longer sequence goes alone. By
    default 768 on a CPU, 4096 on a GPU."""
    packing: bool = True
    """Pack sequences without padding, a group's prompt computed once for all of its responses. A model whose layers mix
    tokens other than by attention is detected and padded instead."""
    chunk_tokens: int | None = Field(None, ge=1)
    """Tokens whose logits over the vocabulary exist at once; by default as many as fit into 64 MiB on a CPU, 512 MiB on
    a GPU, but at least 256. With a penalty over the vocabulary, which takes about ten times as much while it is computed, a
    quarter of these."""
    gradient_checkpointing: bool = False
    """Compute the layers' activations again in the backward pass: less memory, about a third more time."""
    offload_activations: bool = False
    """Keep the inputs of layers, which gradient checkpointing saves, in the host's memory: for long responses on a GPU."""
    offload_weights: bool = False
    """Keep the policy's weights in the host's memory while responses are sampled, so that an engine with weights of its own,
    such as vLLM on a GPU, can have their memory; it costs their way there and back in each step."""

    @model_validator(mode="after")
    def _saves_inputs(self) -> Self:
        if self.offload_activations and not self.gradient_checkpointing:
            raise ValueError("offload_activations keeps what gradient_checkpointing saves: set that as well")
        for key in ("offload_activations", "offload_weights"):
            if getattr(self, key) and self.device == "cpu":
                raise ValueError(f"{key} does nothing with device = cpu, which has no memory of its own; leave it out")
        return self


class EvalConfig(Settings):
    """Evaluations during training, on problems that training never sees."""

    every: int = Field(10, ge=0)
    """Steps between evaluations; the first is before training, the last after it. 0 for none."""
    set: list[str] = []
    """Names of known sets (`aime24`, `math500`, ...) and of tasks, or data files for the task `math`; empty for the held-out
    split of the run's own task."""
    k: int = Field(1, ge=1)
    """Responses sampled per problem."""
    limit: int = Field(64, ge=1)
    """Problems of each set to use, the first ones."""
    temperature: float = Field(1.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(0.7, gt=0, le=1)
    """The DAPO protocol's value."""
    scorer: Literal["math", "math_lenient", "dapo", "dapo_boxed", "strict"] = "math"
    """The rule for problems of math: `math`, `math_lenient`, `dapo` (the public DAPO scorer's), `dapo_boxed` or `strict`; the
    reward keeps its own."""
    decontaminate: bool = False
    """Leave out training problems that have the text of a problem in an evaluation set, or 13 words in a row of it."""

    @model_validator(mode="after")
    def _evaluates(self) -> Self:
        if self.decontaminate and not self.every:
            raise ValueError("decontaminate does nothing with every = 0, for there is no evaluation set; leave it out")
        return self


class CheckpointConfig(Settings):
    """When the run's state is saved; it is always saved at the end and on Ctrl-C."""

    every: int = Field(25, ge=0)
    """Steps between checkpoints; 0 for only the last."""
    keep: int = Field(2, ge=1)
    """Checkpoints kept, the newest ones."""
    keep_best: int = Field(1, ge=0)
    """Further checkpoints kept: of those saved at a step that was evaluated, the best by held-out accuracy."""
    select_on: str = ""
    """The evaluation set whose accuracy says which are best, so that no other is chosen on. Empty: the mean of all."""

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if self.select_on and not self.keep_best:
            raise ValueError("select_on does nothing with keep_best = 0: set keep_best, or leave select_on out")
        return self


class StopAtConfig(Settings):
    """What ends a run before its last step, with an evaluation and a checkpoint as at the last one."""

    generated_tokens: int | None = Field(None, ge=1)
    """The run ends after the step in which it has sampled so many tokens for training: arms of equal cost."""
    hours: float | None = Field(None, gt=0)
    """The run ends after the step in which its training has taken so long, evaluations and checkpoints left out."""


class RunConfig(Settings):
    """A run, fully described. The defaults train `tiny` on a laptop."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")
    """Part of the run's id; by default made from the components."""
    recipe: str = "grpo"
    """The set of components to start from."""
    plugins: list[str] = []
    """Components that replace or join the recipe's; `-name` leaves one out."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Everything random is a function of it."""
    steps: int = Field(200, ge=1)
    """Training steps."""
    task: str = "arithmetic"
    """The component that gives problems and verifies answers."""
    engine: str = "hf"
    """The component that samples responses."""
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    rollout: RolloutConfig = RolloutConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    stop_at: StopAtConfig = StopAtConfig()
    components: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)
    """Parameters of each component, by name; written as one table per component at the top level."""

    @model_validator(mode="after")
    def _has_masters(self) -> Self:
        if self.optim.master_weights and self.lora.rank:
            raise ValueError(
                f"`optim.master_weights` = true does nothing with `lora.rank` = {self.lora.rank}: adapters are small, and"
                " float32; leave it out"
            )
        if self.optim.master_weights and self.model.dtype == "float32":
            raise ValueError(
                "`optim.master_weights` = true does nothing with `model.dtype` = 'float32': set bfloat16, or leave it out"
            )
        return self

    @field_validator("plugins")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not name.strip().lstrip("-"):
                raise ValueError("a component's name must not be empty")
        return [name.strip() for name in names]


TABLES = tuple(name for name, field in RunConfig.model_fields.items() if isinstance(field.default, Settings))
KEYS = tuple(name for name in RunConfig.model_fields if name != "components")
