"""Where a model lies, and what can be said of it without loading it."""

from __future__ import annotations

import json
import logging
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dapoctl.doctor.shape import Parameters, Shape, count, shape_of
from dapoctl.models import locate

PATIENCE = 8.0
"""Seconds that the hub gets to answer"""
OTHER_TOWERS = ("vision", "audio", "multi_modal", "embed_vision", "embed_audio")
WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True, slots=True)
class Model:
    """A model as far as it is known."""

    path: str
    """As the configuration names it"""
    shape: Shape | None = None
    parameters: Parameters | None = None
    problem: str = ""
    """Why something is not known"""
    fix: str = ""
    loadable: bool = True
    """False when `dapoctl run` could not load it now"""


def find_model(path: str) -> Model:
    """The model that `path` names: a folder, a GGUF file, a hub name in the local cache or, failing that, online."""
    source = Path(locate(path)).expanduser()
    if source.suffix == ".gguf" and source.is_file():
        return _gguf(path, source)
    if source.is_dir():
        return _folder(path, source)
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        return Model(
            path, problem="no such folder, and not a hub name (owner/name)", fix="--set model=...", loadable=False
        )
    return _hub(path)


def _folder(path: str, folder: Path) -> Model:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "the folder has no config.json, so it is no model in transformers format"
        return Model(path, problem=problem, loadable=False)
    except (OSError, ValueError) as error:
        return Model(path, problem=f"its config.json cannot be read: {error}", loadable=False)
    shape = shape_of(config) if isinstance(config, dict) else None
    if shape is None:
        return Model(path, problem="its config.json does not say the shape of a language model; memory is unknown")
    counted = from_safetensors(folder, shape)
    if counted is None and not any(next(folder.glob(pattern), None) for pattern in WEIGHTS):
        problem = "the folder has no weights; they are counted from the shape"
        return Model(path, shape, count(shape), problem, "put the model's *.safetensors there", loadable=False)
    return Model(path, shape, counted or count(shape))


def from_safetensors(folder: Path, shape: Shape) -> Parameters | None:
    """Parameters by part, exactly, from the headers of a folder's safetensors files; None without such files."""
    try:
        sizes = {name: size for file in _files(folder) for name, size in _tensors(file)}
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        return None
    if not sizes:
        return None
    parts: Counter[str] = Counter()
    for name, size in sizes.items():
        parts[_part(name)] += size
    return Parameters(
        embedding=parts["embedding"],
        head=0 if shape.tied else parts["head"],
        attention=parts["attention"],
        mlp=parts["mlp"],
        norms=parts["norms"],
        frozen=parts["frozen"],
        other=parts["other"],
        source="the weights' headers",
    )


def _files(folder: Path) -> list[Path]:
    """The weight files; of the shards that an index names, those alone."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in dict.fromkeys(names)]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def _tensors(file: Path) -> Iterator[tuple[str, int]]:
    """(name, numbers in it) of each tensor; the header is a length (u64) and JSON."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header: Mapping[str, Any] = json.loads(stream.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            size = 1
            for extent in entry["shape"]:
                size *= int(extent)
            yield name, size


def _part(name: str) -> str:
    if any(tower in name for tower in OTHER_TOWERS):
        return "frozen"
    for part, word in {"embedding": "embed_tokens", "head": "lm_head", "norms": "norm", "mlp": "mlp"}.items():
        if word in name:
            return part
    return "attention" if "attn" in name else "other"


GGUF_KEYS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
    "sliding_window": "attention.sliding_window",
    "vocab_size": "vocab_size",
}
GGUF_TYPES = {"gemma3": "gemma3_text"}
"""Architectures that transformers calls otherwise"""


def _gguf(path: str, file: Path) -> Model:
    try:
        from gguf import GGUFReader
    except ImportError:
        problem = "a GGUF file, which needs the package gguf to be read; its shape is unknown"
        return Model(path, problem=problem, fix="pip install 'dapoctl[gguf]'", loadable=False)
    try:
        reader = GGUFReader(file)
        fields = {name: item.contents() for name, item in reader.fields.items()}
        sizes = {str(tensor.name): int(tensor.n_elements) for tensor in reader.tensors}
    except Exception as error:  # noqa: BLE001 (a file of any content)
        return Model(path, problem=f"it cannot be read as GGUF: {error}", loadable=False)
    kind = str(fields.get("general.architecture", ""))
    config = {key: fields.get(f"{kind}.{name}") for key, name in GGUF_KEYS.items()}
    config["model_type"] = GGUF_TYPES.get(kind, kind)
    config["tie_word_embeddings"] = "output.weight" not in sizes
    config["vocab_size"] = config["vocab_size"] or len(fields.get("tokenizer.ggml.tokens", ())) or None
    shape = shape_of(config)
    if shape is None:
        return Model(path, problem=f"a GGUF file of architecture {kind or '?'}, whose shape is unknown")
    # RoPE's factors are stored like weights, and are none.
    total = sum(size for name, size in sizes.items() if not name.startswith("rope_"))
    counted = count(shape)
    return Model(path, shape, replace(counted, other=total - counted.language, source="the GGUF header", exact=True))


def _hub(path: str) -> Model:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE

    cached = try_to_load_from_cache(path, "config.json")
    if isinstance(cached, str):
        model = _folder(path, Path(cached).parent)
        if model.loadable or model.shape is None:
            return model
        if HF_HUB_OFFLINE:
            return replace(model, problem="its weights are not in the cache, and HF_HUB_OFFLINE is set", fix="")
        return replace(
            model, problem="its weights are not in the cache yet; the run fetches them", fix="", loadable=True
        )
    if HF_HUB_OFFLINE:
        problem = f"model {path} is not here, and HF_HUB_OFFLINE is set; shape unknown"
        return Model(path, problem=problem, loadable=False)
    config, failure = _download(path)
    if config is None:
        return Model(path, problem=f"model {path} is not here ({failure}); shape unknown", loadable=False)
    shape = shape_of(config)
    if shape is None:
        return Model(path, problem="its config.json does not say the shape of a language model; memory is unknown")
    return Model(path, shape, count(shape), "its weights are not here yet; the run fetches them")


def _download(path: str) -> tuple[dict[str, Any] | None, str]:
    """A hub model's `config.json`, or why it cannot be had soon. In a thread, because a name server may hang."""
    outcome: list[tuple[dict[str, Any] | None, str]] = []

    def fetch() -> None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

        try:
            file = hf_hub_download(path, "config.json", etag_timeout=PATIENCE / 2)
            outcome.append((json.loads(Path(file).read_text(encoding="utf-8")), ""))
        except GatedRepoError:
            outcome.append((None, "its owner asks you to accept terms, and to log in with `hf auth login`"))
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
