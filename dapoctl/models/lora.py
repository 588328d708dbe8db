"""Low-rank adapters (LoRA, arXiv:2106.09685) through peft: W + alpha / rank * B A, with W frozen and B zero at first."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dapoctl.errors import ModelError

if TYPE_CHECKING:
    from dapoctl.config import RunConfig
    from dapoctl.config.schema import LoraConfig

ALL_LINEAR = "all-linear"
NAME = "default"
"""What peft calls an adapter that has no other name"""
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapters:
    """The adapters inside a model, on or off."""

    wrapper: Any
    """The PeftModel around the model, whose layers it has replaced in place"""
    on: bool = True
    """Whether the model is used with its adapters or without"""

    def off(self) -> Adapters:
        """The same model without its adapters: what it was before training."""
        return dataclasses.replace(self, on=False)

    def applied(self) -> contextlib.AbstractContextManager[None]:
        """The context in which the model computes with its adapters, or without them if they are off."""
        return contextlib.nullcontext() if self.on else self._bypassed()

    @contextlib.contextmanager
    def merged(self) -> Iterator[None]:
        """The context in which the adapters are part of float32 weights: the same policy, three operations less for each
        layer. Weights in bfloat16, which would round an adapter's first steps away, stay as they are.

        Weights are restored bit for bit: they are kept aside, not recomputed, which takes a second copy meanwhile.
        """
        layers = self._layers().values()
        with torch.no_grad():
            kept = [layer.base_layer.weight.data for layer in layers]
            exact = all(weight.dtype == torch.float32 for weight in kept)
            if not exact or not self.on or any(layer.disable_adapters for layer in layers):
                yield
                return
            try:
                for layer in layers:
                    layer.base_layer.weight.data = _merged_weight(layer)
                with self._bypassed():
                    yield
            finally:
                for layer, weight in zip(layers, kept, strict=True):
                    layer.base_layer.weight.data = weight

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The model's weights under the names that they have without adapters, each adapter added to its layer's.

        Layers are merged one at a time and in float32; the trained weights stay as they are.
        """
        layers = self._layers()
        own = {id(parameter) for layer in layers.values() for parameter in _adapter_parameters(layer)}
        for name, parameter in self.wrapper.get_base_model().named_parameters():
            if id(parameter) in own:
                continue
            owner, _, kind = name.rpartition(".base_layer.")
            if self.on and kind == "weight" and owner in layers:
                yield f"{owner}.weight", _merged_weight(layers[owner])
            else:
                yield name.replace(".base_layer.", "."), parameter.detach()

    def save(self, directory: Path) -> None:
        """Write the adapters, and nothing else, as `peft.PeftModel.from_pretrained` reads them."""
        self.wrapper.save_pretrained(str(directory), save_embedding_layers=False)

    @contextlib.contextmanager
    def _bypassed(self) -> Iterator[None]:
        layers = self._layers().values()
        try:
            for layer in layers:
                layer.enable_adapters(False)
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)

    def _layers(self) -> dict[str, Any]:
        from peft.tuners.lora import LoraLayer

        modules = self.wrapper.get_base_model().named_modules()
        return {name: module for name, module in modules if isinstance(module, LoraLayer)}


def add_adapters(model: Any, config: RunConfig, source: str, weights: Path | None = None) -> Adapters:
    """Freeze `model` and put adapters beside its linear layers; drawn from the run's seed, or read from `weights`.

    Args:
        model: a causal language model of transformers, changed in place
        config: the run's; `lora` says what to adapt
        source: where the model came from; saved with the adapters
        weights: a folder that `Adapters.save` wrote

    Raises:
        ModelError: peft is missing, `lora` does not fit the model, or `weights` do not.
    """
    import peft

    targets = adapted_layers(model, config.lora)
    settings = peft.LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,  # type: ignore[arg-type]  # peft divides by the rank, and takes fractions
        target_modules=targets,
        fan_in_fan_out=not isinstance(model.get_submodule(targets[0]), nn.Linear),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        wrapper = peft.get_peft_model(model, settings)
    path = Path(source).expanduser()
    settings.base_model_name_or_path = str(path.resolve()) if path.exists() else source
    if weights is not None:
        _load_weights(wrapper, weights)
    return Adapters(wrapper)


def require_peft(config: LoraConfig) -> None:
    """Refuse adapters where peft is not installed.

    Raises:
        ModelError: saying how to install it.
    """
    if importlib.util.find_spec("peft") is None:
        raise ModelError(
            f"`lora.rank` = {config.rank}: adapters need peft, which is not installed: pip install 'dapoctl[lora]'; or"
            " set lora.rank = 0 to train every weight"
        )


def adapted_layers(model: Any, config: LoraConfig) -> list[str]:
    """Names of the linear layers that `lora.targets` asks for, all within the language model's decoder.

    Raises:
        ModelError: a target matches none of them, or `lora.rank` is more than the rank of each.
    """
    linear = linear_layers(model)
    chosen = []
    for target in config.targets:
        matching = [name for name in linear if target == ALL_LINEAR or f".{name}".endswith(f".{target}")]
        if not matching:
            known = dict.fromkeys(name.rpartition(".")[2] for name in linear)
            raise ModelError(
                f"`lora.targets`: {target!r} matches the end of no linear layer's name in the language model of"
                f" {model.config.model_type}; it has {', '.join(known)}, with full names such as {next(iter(linear), 'none')};"
                f" {ALL_LINEAR!r} takes all of them"
            )
        chosen += matching
    largest = max(min(linear[name]) for name in chosen)
    if config.rank > largest:
        raise ModelError(
            f"`lora.rank` = {config.rank}: no adapted layer has a rank of more than {largest}, so these adapters would be"
            " larger than the weights; lower it, or set 0 to train every weight"
        )
    return list(dict.fromkeys(chosen))


def cast_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep weights that are not trained in `dtype`; buffers, such as rotary frequencies, stay precise."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def linear_layers(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of the weight of each linear layer of the decoder, by name in the model; without the output head."""
    from transformers.pytorch_utils import Conv1D

    inside = {id(module) for module in model.get_decoder().modules()} - {id(model.get_output_embeddings())}
    return {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if id(module) in inside and isinstance(module, (nn.Linear, Conv1D))
    }


@torch.no_grad()
def _merged_weight(layer: Any) -> Tensor:
    merged: Tensor = layer.get_delta_weight(NAME)
    return merged.add_(layer.base_layer.weight)


def _adapter_parameters(layer: Any) -> Iterator[nn.Parameter]:
    for part in layer.adapter_layer_names:
        yield from getattr(layer, part).parameters()


def _load_weights(wrapper: Any, folder: Path) -> None:
    import peft
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(folder / WEIGHTS)
        wanted = peft.get_peft_model_state_dict(wrapper, save_embedding_layers=False)
        for name in sorted(wanted.keys() | state.keys()):
            ours, saved = (list(tensors[name].shape) if name in tensors else "absent" for tensors in (wanted, state))
            if ours != saved:
                raise ModelError(
                    f"the adapters in `{folder}` are not this run's: {name.removeprefix('base_model.model.')} is {saved}"
                    f" there and {ours} with this model and [lora]"
                )
        peft.set_peft_model_state_dict(wrapper, state)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the adapters in `{folder}` cannot be loaded: {str(error).splitlines()[0]}") from error
