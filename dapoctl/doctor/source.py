"""Where a model is, and what is known of it without loading it."""

from __future__ import annotations

import logging
import math
import os
import threading
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dapoctl.doctor.shape import Decoder, Parameters, Shape, empty_model, measure
from dapoctl.models import kind_of, locate

PATIENCE = 8.0
"""Seconds that the hub gets to answer"""
WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model."""

    path: str
    """As the configuration names it"""
    shape: Shape | None = None
    parameters: Parameters | None = None
    problem: str = ""
    """Why something is unknown"""
    fix: str = ""
    loadable: bool = True
    """False if `dapoctl run` could not load it now"""
    decoder: Decoder | None = None
    """Known if the shape is"""


def find_model(path: str, trust_remote_code: bool = False) -> Model:
    """The model that `path` names: a folder, a GGUF file, a hub name in the local cache or, failing that, online."""
    source = Path(locate(path)).expanduser()
    kind = kind_of(path)
    if kind == "gguf":
        if find_spec("gguf") is None:
            problem = "a GGUF file, which needs the package gguf to be read; its shape is unknown"
            return Model(path, problem=problem, fix="pip install 'dapoctl[gguf]'", loadable=False)
        return _measured(path, source.parent, "the GGUF header", gguf_file=source.name)
    if kind == "folder":
        return _folder(path, source, trust_remote_code)
    if kind == "hub":
        return _hub(path, trust_remote_code)
    return Model(path, problem="no such folder, and not a hub name (owner/name)", fix="--set model=...", loadable=False)


def _folder(path: str, folder: Path, trust_remote_code: bool) -> Model:
    if not (folder / "config.json").is_file():
        problem = "the folder has no config.json, so it is not a model in transformers format"
        return Model(path, problem=problem, loadable=False)
    model = _measured(path, folder, "the shape", trust_remote_code)
    if model.parameters is None:
        return model
    if not any(next(folder.glob(pattern), None) for pattern in WEIGHTS):
        problem = "the folder has no weights; they are counted from the shape"
        return replace(model, problem=problem, fix="put the model's *.safetensors there", loadable=False)
    if _stored(folder) == model.parameters.total:
        return replace(model, parameters=replace(model.parameters, source="the weights' headers"))
    return model


def _measured(path: str, folder: Path, source: str, trust_remote_code: bool = False, **options: Any) -> Model:
    """The model that transformers builds from a configuration, as when the run loads it."""
    problem = "torch and transformers cannot be imported, so its shape is unknown"
    try:
        import torch  # noqa: F401
        from transformers import AutoConfig
        from transformers.utils import logging as verbosity

        verbosity.set_verbosity_error()  # type: ignore[no-untyped-call]
        problem = "it cannot be read as GGUF" if "gguf_file" in options else "its config.json cannot be read"
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, **options)
        problem = "transformers builds no language model from its configuration, so memory is unknown"
        model = empty_model(config, trust_remote_code)
    except Exception as error:  # noqa: BLE001 (of files of any content, and of libraries that may be broken)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        # The model's own code may be one more download for the run.
        return Model(path, problem=f"{problem}: {reason}", loadable=trust_remote_code)
    try:
        shape, count, decoder = measure(model)
    except Exception:  # noqa: BLE001 (of configurations of any architecture)
        return Model(path, problem="its config.json does not give the shape of a language model; memory is unknown")
    return Model(path, shape, replace(count, source=source), decoder=decoder)


def _stored(folder: Path) -> int:
    """The number of parameters in a folder's safetensors files, from their headers; -1 if one cannot be read."""
    from safetensors import SafetensorError, safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "np") as file:
                count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError):
            return -1
    return count


def _hub(path: str, trust_remote_code: bool) -> Model:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    file, failure = hub_config(path)
    if file is None:
        why = f", and {failure}" if HF_HUB_OFFLINE else f" ({failure})"
        return Model(path, problem=f"model {path} is not here{why}; shape unknown", loadable=False)
    model = _folder(path, Path(file).parent, trust_remote_code)
    if model.loadable or model.shape is None:
        return model
    if HF_HUB_OFFLINE:
        return replace(model, problem="its weights are not in the cache, and HF_HUB_OFFLINE is set", fix="")
    return replace(model, problem="its weights are not in the cache yet; the run fetches them", fix="", loadable=True)


def hub_config(path: str) -> tuple[str | None, str]:
    """A hub model's `config.json` from the local cache or, failing that, from the hub; or why neither has it, within
    `PATIENCE` seconds and without a word of the libraries' retries."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE

    cached = try_to_load_from_cache(path, "config.json")
    if isinstance(cached, str):
        return cached, ""
    return (None, "HF_HUB_OFFLINE is set") if HF_HUB_OFFLINE else _download(path)


def _download(path: str) -> tuple[str | None, str]:
    """A hub model's `config.json`, or why it is not available soon. In a thread, because a name server may hang."""
    outcome: list[tuple[str | None, str]] = []

    def fetch() -> None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

        try:
            outcome.append((hf_hub_download(path, "config.json", etag_timeout=PATIENCE / 2), ""))
        except GatedRepoError:
            outcome.append((None, "its owner asks you to accept terms, and to log in or set HF_TOKEN"))
        except RepositoryNotFoundError:
            outcome.append((None, "the hub has no such model, or it is private"))
        except LocalEntryNotFoundError:
            outcome.append((None, "the hub cannot be reached"))
        except Exception as error:  # noqa: BLE001 (whatever goes wrong there, the shape is unknown)
            outcome.append((None, f"the hub's answer: {type(error).__name__}"))

    # The library reports each of its retries, and would draw a progress bar.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return outcome[0] if outcome else (None, "the hub does not answer")
