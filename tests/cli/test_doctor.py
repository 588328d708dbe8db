"""`dapoctl doctor`: what it says of packages, machines and runs, against torch, transformers and arithmetic by hand."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dapoctl.doctor.accelerator import Build, build_of, check_accelerator
from dapoctl.doctor.machine import GIB, Machine, look
from dapoctl.doctor.packages import requirements, version
from dapoctl.doctor.workload import STATE_BYTES
from dapoctl.runs.jobs.gpus import Gpu
from tests.support.cli import Done, dapoctl
from tests.support.processes import run_dapoctl

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FLAGSHIP = EXPERIMENTS / "gemma3-4b-80gb.toml"
GEMMA_4B = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "sliding_window": 1024,
    },
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 896, "patch_size": 14, "vision_use_head": False,
    },
}  # fmt: skip
"""As google/gemma-3-4b-it has it: heads, vocabulary and positions are left to the defaults"""
H100 = Gpu(0, "NVIDIA H100", 80 * GIB, 79 * GIB, (9, 0))


def call(command: str, *arguments: str, cwd: Path, packages: Sequence[Path] = ()) -> Done:
    return dapoctl(command, *arguments, cwd=cwd, packages=packages)


WITH_VLLM = 0 if find_spec("vllm") else 1
"""How a report on a run that needs vLLM ends here when nothing else is in its way"""


def report(*arguments: str, cwd: Path, code: int = 0, packages: Sequence[Path] = ()) -> dict[str, Any]:
    """`dapoctl doctor --json`, which must end with `code`."""
    done = call("doctor", "--json", *arguments, cwd=cwd, packages=packages)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["ok"] == (code == 0)
    return found


def named(checks: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [check for check in checks if check["name"] == name]
    return found


def install(site: Path, name: str, release: str, *needs: str, **modules: str) -> Path:
    """A distribution as an installer would leave it in `site`; the folder."""
    info = site / f"{name}-{release}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {release}", *(f"Requires-Dist: {n}" for n in needs)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    for module, source in modules.items():
        (site / name).mkdir(exist_ok=True)
        (site / name / f"{module}.py").write_text(source)
    return site


@pytest.fixture
def gemma(tmp_path: Path) -> Path:
    folder = tmp_path / "gemma-3-4b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(GEMMA_4B))
    return folder


def test_the_default_run_is_healthy_here(tmp_path: Path) -> None:
    found = report(cwd=tmp_path)
    assert {check["status"] for check in found["environment"]} <= {"ok", "note", "warn"}
    assert named(found["run"], "fits")["status"] == "ok"
    assert found["memory"]["peak"] == max(
        sum(found["memory"][moment].values()) for moment in ("generating", "updating")
    )


def test_a_narrow_page_keeps_to_its_columns(tmp_path: Path) -> None:
    def in_a_terminal() -> None:
        sys.stdout.isatty = lambda: True  # type: ignore[method-assign]

    done = dapoctl("doctor", "--recipe", "dapo", "--runs-dir", "/", cwd=tmp_path, before=in_a_terminal, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "installation"
    assert "memory, about             sampling    updating" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "stpes=3"],
        ["-c", "none.toml"],
        ["--plugins", "rloo,dr_grpo"],
        ["--set", "rollout.samples=1"],
        ["--seed", "-1"],
    ],
)
def test_mistakes_read_as_those_of_run(arguments: list[str], tmp_path: Path) -> None:
    doctor, run = call("doctor", *arguments, cwd=tmp_path), call("run", *arguments, cwd=tmp_path)
    assert doctor.returncode == run.returncode == 2
    assert doctor.stderr == run.stderr
    assert doctor.stdout == ""


def test_files_are_layered_as_by_run(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("steps = 11\n[rollout]\nprompts = 5\n")
    (tmp_path / "two.toml").write_text("steps = 13\n")
    plan = report("-c", "one.toml", "-c", "two.toml", cwd=tmp_path)["plan"]
    assert (plan["steps"], plan["prompts"]) == (13, 5)


def test_the_arithmetic_of_a_run(tmp_path: Path) -> None:
    settings = [
        "steps=25", "rollout.prompts=6", "rollout.samples=4", "rollout.max_prompt_tokens=20",
        "rollout.max_response_tokens=31", "optim.updates=3", "train.micro_batch_tokens=100", "eval.every=10",
        "eval.limit=7", "eval.k=2", "dynamic_sampling.max_rounds=4",
    ]  # fmt: skip
    plan = report("--recipe", "dapo", *(part for s in settings for part in ("--set", s)), cwd=tmp_path)["plan"]
    assert plan["responses_per_step"] == 24
    assert plan["responses"] == 600
    assert plan["tokens_per_step"] == 24 * 51
    assert plan["rounds"] == 4
    # Before training, after steps 10, 20 and 25; seven problems, two answers.
    assert plan["eval_responses"] == 4 * 7 * 2
    # 2 groups an update; 100 tokens hold a prompt of 20 and two responses of 30 input tokens: 80, a third makes 110.
    assert plan["micro_batches_per_update"] == 4


def test_a_vllm_that_does_not_fit(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "vllm", "0.9.0")
    needed = report("--set", "engine=vllm", cwd=tmp_path, code=1, packages=[site])
    check = named(needed["environment"], "vllm")
    assert check["status"] == "fail"
    assert "0.9.0" in check["text"]
    assert "vllm==0.32.*" in check["text"]
    assert check["fix"] == "pip install 'vllm==0.32.*'"
    assert named(report(cwd=tmp_path, packages=[site])["environment"], "vllm")["status"] == "warn"


def test_a_vllm_for_another_torch(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "vllm", "0.32.5", "torch==1.0.0", "transformers>=5.16.1,<5.20")
    found = report("--set", "engine=vllm", cwd=tmp_path, code=1, packages=[site])
    (check,) = [item for item in found["environment"] if item["name"] == "torch" and item["status"] == "fail"]
    assert "vllm needs torch==1.0.0" in check["text"]
    assert "torch" in check["fix"]


def test_a_library_that_is_too_new(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "transformers", "9.9.0")
    check = named(report(cwd=tmp_path, code=1, packages=[site])["environment"], "transformers")
    assert "dapoctl needs transformers<5.20,>=5.10" in check["text"]
    assert "9.9.0 is installed" in check["text"]
    assert check["fix"].startswith("pip install 'transformers")


def test_a_torchvision_of_the_other_build(tmp_path: Path) -> None:
    build = build_of("torch")
    assert build is not None
    tag = "cpu" if build.cuda else "cu130"
    site = install(tmp_path / "site", "torchvision", "0.28.0", version=f"__version__ = '0.28.0+{tag}'\n")
    check = named(report(cwd=tmp_path, code=1, packages=[site])["environment"], "torchvision")
    assert (check["status"], check["fix"]) == ("fail", "pip uninstall torchvision")


def test_versions_are_those_of_the_modules() -> None:
    import torch
    import transformers

    build = build_of("torch")
    assert build is not None
    assert (build.version, build.cuda) == (torch.__version__, torch.version.cuda)
    assert version("transformers") == transformers.__version__
    assert {str(item.specifier) for item in requirements("dapoctl", "vllm")} == {"==0.32.*"}
    assert "vllm" not in {item.name for item in requirements("dapoctl")}


@pytest.mark.parametrize(
    ("build", "machine", "device", "status", "words"),
    [
        (Build("2.13.0+cpu"), Machine(), "auto", "ok", "on the CPU"),
        (Build("2.13.0+cpu"), Machine(gpus=(H100,), driver_cuda=(13, 0)), "auto", "fail", "idle"),
        (Build("2.13.0+cpu"), Machine(gpus=(H100,), driver_cuda=(13, 0)), "cpu", "ok", "CPU"),
        (Build("2.13.0+cpu"), Machine(), "cuda", "fail", "train.device"),
        (Build("2.13.0+cu130", "13.0"), Machine(), "auto", "ok", "on the CPU"),
        (Build("2.13.0+cu130", "13.0"), Machine(gpus=(H100,), driver_cuda=(13, 0)), "auto", "ok", "CUDA 13.0"),
        (Build("2.13.0+cu126", "12.6"), Machine(gpus=(H100,), driver_cuda=(12, 2)), "auto", "ok", "CUDA 12.6"),
        (Build("2.13.0+cu130", "13.0"), Machine(gpus=(H100,), driver_cuda=(12, 8)), "auto", "fail", "12.8 at most"),
    ],
)
def test_torch_against_driver_and_gpu(build: Build, machine: Machine, device: str, status: str, words: str) -> None:
    check = check_accelerator(build, machine, device)[0]
    assert (check.name, check.status) == ("torch", status)
    assert words in check.text
    assert bool(check.fix) == (status == "fail")


def test_the_machine_is_this_one() -> None:
    import psutil

    machine = look()
    assert 0 < machine.memory_free <= machine.memory <= psutil.virtual_memory().total
    assert 1 <= machine.cpus <= (os.cpu_count() or 1)


def test_too_long_for_the_model(tmp_path: Path) -> None:
    found = report("--set", "rollout.max_response_tokens=400", cwd=tmp_path, code=1)
    check = named(found["run"], "positions")
    assert "400" in check["text"]
    assert "256" in check["text"]
    fixed = report(*check["fix"].split(), cwd=tmp_path)
    assert "positions" not in [item["name"] for item in fixed["run"]]


def test_a_model_that_is_not_here(tmp_path: Path) -> None:
    found = report("--set", "model=nobody/nothing", cwd=tmp_path, code=1)
    assert "nobody/nothing is not here" in named(found["run"], "model")["text"]
    assert found["memory"] is None
    page = call("doctor", "--set", "model=nobody/nothing", cwd=tmp_path).stdout
    assert "unknown, so memory cannot be estimated" in page


def test_a_folder_without_weights(gemma: Path, tmp_path: Path) -> None:
    found = report("--set", f"model={gemma}", "--set", "steps=3", cwd=tmp_path, code=1)
    assert "no weights" in named(found["run"], "model")["text"]


def test_warm_up_that_never_ends(tmp_path: Path) -> None:
    found = report("--set", "steps=20", "--set", "optim.warmup_steps=20", cwd=tmp_path)
    assert named(found["run"], "warm-up")["status"] == "warn"


GEMMA_1B = {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912,
    "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144,
    "sliding_window": 512, "max_position_embeddings": 32768,
}  # fmt: skip
"""As google/gemma-3-1b-it has it"""


@pytest.mark.parametrize(
    ("file", "memory"), [("gemma3-4b-80gb", "79.6"), ("gemma3-4b-24gb", "23.6"), ("gemma3-1b-t4", "14.7")]
)
def test_each_file_fits_the_gpu_that_it_is_for(file: str, memory: str, gemma: Path, tmp_path: Path) -> None:
    """In GiB as the driver gives it, which is less than the name says."""
    if "1b" in file:
        (gemma / "config.json").write_text(json.dumps(GEMMA_1B))
    arguments = ["-c", str(EXPERIMENTS / f"{file}.toml"), "--set", f"model.path={gemma}", "--gpu-memory", memory]
    found = report(*arguments, cwd=tmp_path, code=WITH_VLLM)
    assert named(found["run"], "fits")["status"] == "ok"
    assert not [check for check in found["run"] if check["name"] in ("KV cache", "positions")]


RUNS = {
    "grpo, hf": ["--set", "engine=hf"],
    "dapo, vllm": ["--recipe", "dapo", "--set", "engine=vllm"],
    "gkl, vllm": ["--plugins", "gkl", "--set", "engine=vllm"],
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("gpu", [24, 48])
def test_advice_for_gemma_3_4b_fits_when_it_is_followed(run: str, gpu: int, gemma: Path, tmp_path: Path) -> None:
    arguments = [*RUNS[run], "--set", f"model={gemma}", "--gpu-memory", str(gpu)]
    before = report(*arguments, cwd=tmp_path, code=1)
    # float32 weights, gradients and AdamW's averages of 3.9 billion parameters alone are 62 GB.
    assert before["memory"]["peak"] > 62e9
    assert named(before["run"], "does not fit")["status"] == "fail"
    (advice,) = before["advice"]
    whole = gpu == 48
    # A reference of every weight is 8 GB more; then the weights' master copies go to the host's memory, too.
    assert ("--set optim.master_weights=true" in advice["set"]) == (whole and "gkl" in run)
    assert any(("optim.states=" if whole else "lora.rank=32") in option for option in advice["set"])
    options = [part for option in advice["set"] for part in option.split()]
    after = report(*arguments, *options, cwd=tmp_path, code=WITH_VLLM if "vllm" in run else 0)
    assert after["memory"]["peak"] == advice["peak"] <= 0.9 * gpu * GIB
    assert named(after["run"], "fits")["status"] == "ok"
    for left_out in range(0, len(options), 2):
        fewer = [*options[:left_out], *options[left_out + 2 :]]
        found = json.loads(call("doctor", "--json", *arguments, *fewer, cwd=tmp_path).stdout)
        no_room = any(check["name"] == "KV cache" and check["status"] == "fail" for check in found["run"])
        assert no_room or found["memory"]["peak"] > 0.9 * gpu * GIB


@pytest.mark.parametrize(("gpu", "states"), [(64, "8bit"), (48, "offload")])
def test_advice_keeps_the_optimizer_states_smaller_before_it_gives_up_whole_weights(
    gpu: int, states: str, gemma: Path, tmp_path: Path
) -> None:
    arguments = [*RUNS["dapo, vllm"], "--set", f"model={gemma}", "--gpu-memory", str(gpu)]
    before = report(*arguments, cwd=tmp_path, code=1)
    (advice,) = before["advice"]
    assert f"--set optim.states={states}" in advice["set"]
    options = [part for option in advice["set"] for part in option.split()]
    after = report(*arguments, *options, cwd=tmp_path, code=WITH_VLLM)
    assert named(after["run"], "fits")["status"] == "ok"
    trained = before["memory"]["updating"]["optimizer"] / STATE_BYTES["float32"]
    saved = {"8bit": int(trained * STATE_BYTES["8bit"]), "offload": 0}[states]
    assert after["memory"]["updating"].get("optimizer", 0) == saved


@pytest.mark.parametrize("more", [[], ["--set", "lora.rank=32"]])
def test_advice_for_an_engine_whose_cache_has_no_room(more: list[str], gemma: Path, tmp_path: Path) -> None:
    """A larger share of a GPU of 24 GB for sampling, since both phases have it to themselves."""
    case_study = ["-c", str(FLAGSHIP), "--gpu-memory", "24", "--set", "vllm.gpu_memory_utilization=0.35"]
    arguments = [*case_study, "--set", f"model={gemma}", *more]
    before = report(*arguments, cwd=tmp_path, code=1)
    assert named(before["run"], "KV cache")["status"] == "fail"
    (advice,) = before["advice"]
    assert "--set vllm.gpu_memory_utilization=0.5" in advice["set"]
    after = report(*arguments, *(part for each in advice["set"] for part in each.split()), cwd=tmp_path, code=WITH_VLLM)
    assert named(after["run"], "fits")["status"] == "ok"
    assert not [check for check in after["run"] if check["name"] == "KV cache"]


ENGINE = """
from dapoctl import Component, hookimpl


class Elsewhere(Component):
    '''Sample on another machine.'''

    @hookimpl
    def build_engine(self, policy):
        raise NotImplementedError
"""


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("", "no `memory(workload)`"),
        ("    def memory(self, workload):\n        return 1 / 0", "its `memory` failed: ZeroDivisionError"),
        ("    def memory(self, workload):\n        return {'cache': 1}", "its `memory` failed"),
        ("    memory: int = 3", "no `memory(workload)`"),
    ],
)
def test_an_engine_that_does_not_say_what_it_takes(methods: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text(f"{ENGINE}\n{methods}\n")
    known = report(cwd=tmp_path)["memory"]
    found = report("--set", "engine=./engine.py:Elsewhere", cwd=tmp_path)
    assert "engine `elsewhere`: not estimated" in found["memory"]["unknown"]
    assert words in found["memory"]["unknown"]
    assert "engine `elsewhere` takes: that is not estimated" in named(found["run"], "fits")["text"]
    assert found["memory"]["updating"] == known["updating"]
    assert {*found["memory"]["generating"]} < {*known["generating"]}


def test_an_engine_that_answers_for_itself(tmp_path: Path) -> None:
    """Its memory, of which it keeps a part during updates, and its packages: one that is here, one too old, one missing."""
    (tmp_path / "engine.py").write_text(f"""{ENGINE}
    @classmethod
    def packages(cls):
        return ["pytest>=1", "ruff>=1000", "sampling-elsewhere==1.2"]

    def memory(self, workload):
        cache = workload.kv_cache(7, workload.max_tokens)
        return {{"remote": 5, "cache": cache}}, {{"remote": 5}}
""")
    install(tmp_path / "site", "ruff", "0.1.0")
    arguments = ["--set", "engine=./engine.py:Elsewhere"]
    found = report(*arguments, cwd=tmp_path, code=1, packages=[tmp_path / "site"])
    checks = [check for check in found["environment"] if check["name"] == "elsewhere"]
    assert [check["status"] for check in checks] == ["ok", "fail", "fail"]
    assert checks[0]["text"] == f"pytest {version('pytest')}"
    assert checks[1]["text"] == "ruff 0.1.0 is installed; engine `elsewhere` works with ruff>=1000"
    assert checks[2]["text"] == "not installed; engine `elsewhere` needs it"
    assert [check["fix"] for check in checks[1:]] == [
        "pip install 'ruff>=1000'",
        "pip install 'sampling-elsewhere==1.2'",
    ]
    memory = found["memory"]
    assert memory["unknown"] == ""
    assert memory["generating"]["remote"] == memory["updating"]["remote"] == 5
    # tiny: 3 layers, one head of 64 for keys and values, in float32; a window of 256 holds all of 96 tokens.
    assert memory["generating"]["cache"] == 7 * 96 * 3 * 2 * 64 * 4
    assert "cache" not in memory["updating"]


@pytest.mark.process  # this one has imported torch
def test_torch_that_does_not_import(tmp_path: Path) -> None:
    (tmp_path / "site" / "torch").mkdir(parents=True)
    (tmp_path / "site" / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    done = run_dapoctl("doctor", "--json", cwd=tmp_path, packages=[tmp_path / "site"])
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert "libcudart.so.13" in named(found["run"], "model")["text"]
    assert found["memory"] is None
    assert found["plan"]["prompts"] > 0


def test_nothing_to_advise_where_there_is_room(gemma: Path, tmp_path: Path) -> None:
    found = report("--set", f"model={gemma}", "--gpu-memory", "500", cwd=tmp_path)
    assert found["advice"] == []


def test_memory_saved_for_nothing_is_pointed_out(gemma: Path, tmp_path: Path) -> None:
    wasteful = ["--set", "engine=vllm", "--set", "vllm.sleep=true", "--set", "train.gradient_checkpointing=true"]
    found = report("--set", f"model={gemma}", *wasteful, "--gpu-memory", "500", cwd=tmp_path, code=WITH_VLLM)
    assert [item["set"] for item in found["advice"]] == [
        ["--set train.gradient_checkpointing=false"],
        ["--set vllm.sleep=false"],
    ]
