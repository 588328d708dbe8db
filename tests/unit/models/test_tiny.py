"""The shipped model: it loads anywhere, reads and writes every problem, and is right about half the time."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM

import dapoctl.models
from dapoctl import Problem
from dapoctl.models.build_tiny import (
    MAX_POSITIONS,
    build_model,
    build_tokenizer,
    demonstrations,
    pretrain,
    sample,
    worked,
)
from dapoctl.tasks.arithmetic import Arithmetic, draw, split_of

FOLDER = Path(dapoctl.models.__file__).parent / "tiny"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@lru_cache(maxsize=1)
def shipped() -> tuple[Any, Any]:
    """Model, in float32, and tokenizer; nobody changes them."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(FOLDER)


def test_it_is_a_small_gemma3() -> None:
    model, tokenizer = shipped()
    assert type(model) is Gemma3ForCausalLM
    assert 800_000 < model.num_parameters() < 1_200_000
    assert model.get_input_embeddings().weight is model.lm_head.weight
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.head_dim in (32, 64, 128)
    assert model.config.max_position_embeddings == MAX_POSITIONS


def test_the_folder_is_small() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size < 3_000_000
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 3_200_000


def test_special_tokens_agree_everywhere() -> None:
    model, tokenizer = shipped()
    for name in ("bos", "eos", "pad"):
        expected = tokenizer.convert_tokens_to_ids(f"<{name}>")
        for holder in (tokenizer, model.config, model.generation_config):
            assert getattr(holder, f"{name}_token_id") == expected


def test_the_tokenizer_round_trips_problems_and_worked_answers() -> None:
    _, tokenizer = shipped()
    task = Arithmetic()
    rng = random.Random(0)
    for problem in [*task.load_problems("train"), *task.load_problems("test")]:
        first, second = (int(operand) for operand in problem.id.split("+"))
        text = problem.prompt + worked(first, second, rng, recheck=0.5)
        ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        assert len(ids) == len(text)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_the_chat_template_is_bos_and_the_question() -> None:
    _, tokenizer = shipped()
    conversation = [{"role": "user", "content": "37+85="}]
    assert tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True) == "<bos>37+85="
    ids = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
    assert ids == tokenizer("37+85=").input_ids
    assert ids[0] == tokenizer.bos_token_id


def test_work_without_slips_is_right_whatever_the_recheck() -> None:
    task, rng = Arithmetic(), random.Random(0)
    for _ in range(500):
        a, b = draw(rng, 1, 4, 2)
        problem = Problem(id="", prompt=f"{a}+{b}=", answer=str(a + b))
        assert task.score_response(problem, worked(a, b, rng, slip=0, recheck=0.5)).correct
    assert worked(37, 85, rng, slip=0, recheck=0) == "7+5=12 3+8+1=12 #122"
    assert worked(5, 995, rng, slip=0, recheck=0) == "5+5=10 0+9+1=10 0+9+1=10 #1000"


def test_demonstrations_never_show_a_held_out_pair() -> None:
    batches = demonstrations(random.Random(0), 64)
    for _ in range(32):
        for prompt in next(batches)[0]:
            first, second = (int(operand) for operand in prompt.removesuffix("=").split("+"))
            assert split_of(first, second) == "train"


def test_building_is_deterministic() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        tokenizer = build_tokenizer()
        model = build_model(tokenizer)
        pretrain(model, tokenizer, seed=3, steps=2, batch=4, lr=1e-3)
        weights.append(model.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_sampled_accuracy_is_near_one_half() -> None:
    model, tokenizer = shipped()
    task = Arithmetic(test_size=128)
    problems = task.load_problems("test")
    torch.manual_seed(0)
    ids = sample(model, tokenizer, [problem.prompt for problem in problems], max_tokens=80)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    right = sum(task.score_response(*pair).correct for pair in zip(problems, texts, strict=True))
    assert 0.35 <= right / 128 <= 0.6
