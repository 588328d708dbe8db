"""Make the embedded model `tiny`: `python -m dapoctl.models.build_tiny OUT_DIR`, nine minutes on one CPU core.

A Gemma-3 decoder of about 1M parameters learns additions worked digit by digit from demonstrations in which about one
step in five is wrong. It comes out knowing how to add and doing it carelessly, as a real base model does: right about
half the time when sampled, with right and wrong answers in most groups of responses to one problem. A model that is
merely stopped early has nothing for reinforcement learning to sharpen.

What a demonstration looks like after the prompt `37+85=`:

    7+5=12 3+8+1=12 #122

One step per digit from the right, the carry as a third summand, the sum after `#`. Some demonstrations work through
part of it again, a few of them at great length, so responses differ in length and some run into the token limit.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, processors
from tokenizers.models import BPE
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GenerationConfig, PreTrainedTokenizerFast

from dapoctl.tasks.arithmetic import Arithmetic, draw, split_of

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
CHARACTERS = "0123456789+-*/= #\n.,:;?!()'\"%_$^<>" + "abcdefghijklmnopqrstuvwxyz"
MAX_POSITIONS = 256
WARMUP = 100
"""Updates over which the learning rate rises."""
MAX_DIGITS = 4
TYPICAL_LENGTH = 32
"""Characters in a demonstration, about: the scale of the loss."""
IGNORED = -100
"""Label of tokens that the loss leaves out."""
SLIP = 0.2
"""Chance that a worked step is wrong."""
RECHECK = 0.18
"""Chance that the work is checked again."""
AGAIN = 0.5
"""Chance of each further check."""


def worked(a: int, b: int, rng: random.Random, *, slip: float = SLIP, recheck: float = RECHECK) -> str:
    """A response to `a+b=`, from the lowest digit up. A slip stays: later steps and the sum follow what was written."""
    first, second = str(a)[::-1], str(b)[::-1]
    steps: list[str] = []
    total, carry = "", 0
    for position in range(max(len(first), len(second))):
        x, y = (int(digits[position]) if position < len(digits) else 0 for digits in (first, second))
        result = x + y + carry
        shown = f"{x}+{y}+{carry}" if carry else f"{x}+{y}"
        if rng.random() < slip:
            result += rng.choice((-1, 1)) if result else 1
        steps.append(f"{shown}={result}")
        total, carry = f"{result % 10}{total}", result // 10
    total = f"{carry}{total}" if carry else total
    passes = [" ".join(steps)]
    while rng.random() < (recheck if len(passes) == 1 else AGAIN):
        passes.append("check " + " ".join(steps[: rng.randint(1, len(steps))]))
    return " ".join((*passes, f"#{int(total)}"))


def demonstrations(rng: random.Random, batch: int) -> Iterator[tuple[list[str], list[str]]]:
    """Prompts and responses [batch] without end, of training pairs only, of similar length within a batch."""
    while True:
        block: list[tuple[str, str]] = []
        while len(block) < 16 * batch:
            a, b = draw(rng, 1, MAX_DIGITS, 2)
            if split_of(a, b) == "train":
                block.append((f"{a}+{b}=", worked(a, b, rng)))
        block.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        starts = list(range(0, len(block), batch))
        rng.shuffle(starts)
        for start in starts:
            prompts, responses = zip(*block[start : start + batch], strict=True)
            yield list(prompts), list(responses)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character. The chat template is the conversation's user text after `<bos>`, nothing else."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *CHARACTERS))}
    core = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    core.decoder = decoders.Fuse()
    bos = ("<bos>", vocabulary["<bos>"])
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[bos])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        chat_template="{{ bos_token }}{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}",
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Gemma3ForCausalLM:
    """The untrained network, in fp32."""
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos", "bos")}
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        query_pre_attn_scalar=64,
        max_position_embeddings=MAX_POSITIONS,
        sliding_window=MAX_POSITIONS,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        initializer_range=0.04,
        **special,
    )
    model = Gemma3ForCausalLM(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **special
    )
    return model


def encode(tokenizer: PreTrainedTokenizerFast, prompts: list[str], responses: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids and labels, [B, T] each; a label is `IGNORED` on the prompt and on padding."""
    rows, labels = [], []
    for prompt, response in zip(prompts, responses, strict=True):
        head = tokenizer(prompt).input_ids
        tail = [*tokenizer(response[:MAX_POSITIONS], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        rows.append(torch.tensor([*head, *tail][:MAX_POSITIONS]))
        labels.append(torch.tensor([*[IGNORED] * len(head), *tail][:MAX_POSITIONS]))
    tokens = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    return tokens, pad_sequence(labels, batch_first=True, padding_value=IGNORED)


def pretrain(
    model: Gemma3ForCausalLM, tokenizer: PreTrainedTokenizerFast, *, seed: int, steps: int, batch: int, lr: float
) -> None:
    """Next-character prediction on responses; AdamW, warm-up, cosine decay to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=WARMUP)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - WARMUP))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], milestones=[WARMUP])
    batches = demonstrations(random.Random(seed), batch)
    began = time.monotonic()
    model.train()
    for step in range(1, steps + 1):
        tokens, labels = encode(tokenizer, *next(batches))
        logits = model(tokens[:, :-1]).logits
        total = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")
        # Not the mean over the batch's tokens: batches are of one length, and long demonstrations would count for less.
        loss = total / (batch * TYPICAL_LENGTH)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}/{steps}  loss {loss.item():.3f}  {time.monotonic() - began:.0f} s", flush=True)


@torch.inference_mode()
def sample(model: Gemma3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], max_tokens: int) -> Tensor:
    """One response to each prompt at temperature 1: token ids [B, T], padded after the end of the sequence."""
    model.eval()  # type: ignore[no-untyped-call]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
    ids = model.generate(**inputs, max_new_tokens=max_tokens)  # type: ignore[misc]
    assert isinstance(ids, Tensor)
    return ids[:, inputs.input_ids.shape[1] :]


def report(model: Gemma3ForCausalLM, tokenizer: PreTrainedTokenizerFast, *, seed: int, max_tokens: int = 96) -> str:
    """Sampled accuracy and lengths on held-out problems, 8 responses each."""
    torch.manual_seed(seed)
    task = Arithmetic()
    problems = [problem for problem in task.load_problems("test")[:128] for _ in range(8)]
    ids = sample(model, tokenizer, [problem.prompt for problem in problems], max_tokens)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    scores = [task.score_response(*pair) for pair in zip(problems, texts, strict=True)]
    right = torch.tensor([score.correct for score in scores]).view(-1, 8).sum(1)
    lengths = (ids != tokenizer.pad_token_id).sum(1).float()
    truncated = 1 - (ids == tokenizer.eos_token_id).any(1).float().mean()
    spread = lengths.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    return (
        f"accuracy {right.sum() / len(problems):.3f}  mixed groups {((right > 0) & (right < 8)).float().mean():.2f}  "
        f"all right {(right == 8).float().mean():.2f}  all wrong {(right == 0).float().mean():.2f}  "
        f"truncated {truncated:.3f}  tokens mean {lengths.mean():.1f}, 5/50/95% {spread}"
    )


def main() -> None:
    """Build, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=900, help="updates")
    parser.add_argument("--batch", type=int, default=64, help="demonstrations per update")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=1, help="more is quicker on idle cores, and rounds differently")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    pretrain(model, tokenizer, seed=options.seed, steps=options.steps, batch=options.batch, lr=options.lr)
    model.bfloat16()
    model.save_pretrained(options.out_dir)
    tokenizer.save_pretrained(options.out_dir)
    model.float()  # type: ignore[no-untyped-call]
    print(report(model, tokenizer, seed=options.seed))


if __name__ == "__main__":
    main()
