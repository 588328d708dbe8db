"""TRL's side of the comparison: its GRPOTrainer, with the same loss as dapoctl."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

from dapoctl import Problem
from dapoctl.models import locate
from experiments.bench.measuring import PeakMemory, matmul_parameters, synchronize
from experiments.bench.recorded import Recording
from experiments.bench.settings import Settings, resolve
from experiments.bench.verifying import verify

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer


class Trainer(GRPOTrainer):  # type: ignore[misc, unused-ignore]
    """GRPOTrainer on a recording's prompts; with `replay`, also on its responses, so that sampling takes no time."""

    recording: Recording
    replay: bool
    stopwatch: Stopwatch

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        known = {group.prompt: group.prompt_ids for group in self.recording.groups}
        return [known[prompt] for prompt in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *arguments: Any, **options: Any) -> Any:
        if not self.replay:
            generate: Any = super()._generate_single_turn
            return generate(prompt_ids, *arguments, **options)
        rows = [
            (group.prompt_ids, response.token_ids) for group in self.recording.groups for response in group.responses
        ]
        assert prompt_ids == [prompt for prompt, _ in rows]
        return [response for _, response in rows], None

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        self.stopwatch.tokens.append(int(output["num_items_in_batch"]))
        self.stopwatch.signal.append(float((output["advantages"] != 0).float().mean()))
        if self.replay:
            self.stopwatch.start()
        return output


class Stopwatch(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Measures the time of every update or whole step, and the peak memory of all but the first."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.memory: PeakMemory | None = None
        self.tokens: list[int] = []
        self.signal: list[float] = []
        self.seconds: list[float] = []
        self.begun = 0.0

    def start(self) -> None:
        """Start an update or a step; the memory of the first is not measured."""
        device = self.trainer.accelerator.device
        if self.memory is None and self.seconds:
            model: Any = self.trainer.model
            self.memory = PeakMemory(model.parameters(), device)
        synchronize(device)
        self.begun = time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """A whole step starts here; an update starts when its responses are generated."""
        if not self.trainer.replay:
            self.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """The optimizer step is done."""
        synchronize(self.trainer.accelerator.device)
        self.seconds.append(time.perf_counter() - self.begun)


class GradientWriter(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Saves the first update's gradient as the optimizer gets it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        """`model` is the trained one."""
        from safetensors.torch import save_file

        named = model.named_parameters()
        save_file({name: p.grad.cpu().contiguous() for name, p in named if p.grad is not None}, self.path)


def make_trainer(settings: Settings, recording: Recording, *, replay: bool, updates: int) -> Trainer:
    """A trainer with its fastest settings for this comparison, without logging and saving."""
    torch.set_num_threads(settings.threads)
    source = locate(settings.model)
    tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    options = GRPOConfig(
        output_dir="unused",
        # One optimizer batch of all responses, generated once: TRL then needs no second pass for old log-probabilities.
        per_device_train_batch_size=settings.trl_batch,
        gradient_accumulation_steps=settings.responses // settings.trl_batch,
        num_generations=settings.samples,
        num_iterations=1,
        max_completion_length=settings.tokens,
        temperature=settings.temperature,
        generation_kwargs={"eos_token_id": recording.stop_ids},
        loss_type="dapo",
        scale_rewards="group",
        epsilon=0.2,
        beta=0.0,
        learning_rate=settings.lr,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        optim="adamw_torch_fused",
        max_grad_norm=settings.grad_clip,
        max_steps=updates,
        gradient_checkpointing=False,
        bf16=settings.dtype == "bfloat16",
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        shuffle_dataset=False,
        seed=settings.seed,
        report_to="none",
        save_strategy="no",
        logging_steps=10**9,
        disable_tqdm=True,
    )
    rows = [{"prompt": group.prompt, "group": index} for index, group in enumerate(recording.groups)]
    reward = replayed_rewards(recording) if replay else verifier(settings, recording)
    trainer = Trainer(
        model=model,
        reward_funcs=reward,
        args=options,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.recording, trainer.replay = recording, replay
    trainer.eos_token_ids = recording.stop_ids
    trainer.stopwatch = Stopwatch(trainer)
    trainer.add_callback(trainer.stopwatch)
    trainer.remove_callback(PrinterCallback)
    return trainer


def replayed_rewards(recording: Recording) -> Any:
    """The recorded rewards, in the order of the recorded responses."""
    values = [response.reward for group in recording.groups for response in group.responses]

    def reward(**_: Any) -> list[float]:
        return values

    return reward


def verifier(settings: Settings, recording: Recording) -> Any:
    """dapoctl's verifier as a reward function."""
    pipeline = resolve(settings).pipeline
    problems = [Problem(group.id, group.prompt, group.answer) for group in recording.groups]

    def reward(completions: list[str], group: list[int], **_: Any) -> list[float]:
        return verify(pipeline, [problems[index] for index in group], completions)

    reward.close = pipeline.close  # type: ignore[attr-defined]
    return reward


def measure(settings: Settings, recording: Recording, *, replay: bool) -> dict[str, Any]:
    """Seconds and trained tokens of each update or step after the first, and their peak memory."""
    trainer = make_trainer(settings, recording, replay=replay, updates=settings.updates + 1)
    trainer.train()
    watch, model = trainer.stopwatch, trainer.model
    assert watch.memory is not None
    assert model is not None
    close(trainer)
    return {
        "seconds": watch.seconds[1:],
        "tokens": watch.tokens[1:],
        "signal": watch.signal[1:],
        "peak_bytes": watch.memory.above(),
        "parameters": matmul_parameters(model),
    }


def write_gradient(settings: Settings, recording: Recording, path: Path) -> dict[str, Any]:
    """The loss of one update on the recorded responses; writes its gradient to a safetensors file."""
    trainer = make_trainer(settings, recording, replay=True, updates=1)
    trainer.add_callback(GradientWriter(path))
    loss = float(trainer.train().training_loss)
    return {"loss": loss}


def close(trainer: Trainer) -> None:
    """End the verifier's processes, if there are any."""
    for reward in trainer.reward_funcs:
        getattr(reward, "close", lambda: None)()
