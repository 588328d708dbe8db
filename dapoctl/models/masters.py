"""Layers' matrices in the type that they compute in, beside float32 master copies that the optimizer updates (Micikevicius et
al. 2018, arXiv:1710.03740, section 3.1).

Autocast makes the same rounded copies for each micro-batch, so updates are the same to the bit. What is gained is memory where
the master copies are not on the device, and the time and memory of making them again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dapoctl.errors import ModelError
from dapoctl.models.lora import linear_layers

SUMS_IN = "grad_dtype"
"""The attribute of a tensor that says in what type its gradient is summed; since torch 2.10"""


def narrow(model: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """Keep the trained matrices of the decoder's linear layers in `dtype`; what they were, by name.

    Embeddings, norms and the output head stay float32: they are not computed through autocast's copies.

    Raises:
        ModelError: `dtype` is no smaller, or this torch cannot sum the gradient of such a weight in float32.
    """
    if dtype == torch.float32:
        raise ModelError(
            "`optim.master_weights` = true: layers compute in float32 here, so there is nothing to keep in fewer bits; set"
            " model.dtype=bfloat16, or leave it out"
        )
    if not hasattr(torch.Tensor, SUMS_IN):
        raise ModelError(
            f"`optim.master_weights` = true: torch {torch.__version__} cannot sum gradients of {str(dtype)[6:]} weights in"
            " float32; install torch 2.10 or later, or leave it out"
        )
    tables = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    matrices = {id(model.get_submodule(name).weight) for name in linear_layers(model)} - tables
    kept = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in matrices and parameter.requires_grad:
            kept[name] = parameter.data
            parameter.data = parameter.data.to(dtype)
    return kept


def attach(model: Any, kept: dict[str, Tensor], *, on_host: bool) -> dict[nn.Parameter, Tensor]:
    """The master copies of a model that is where it computes: there as well, or in the host's memory."""
    masters = {}
    for name, parameter in model.named_parameters():
        if name in kept:
            setattr(parameter, SUMS_IN, torch.float32)
            where = "cpu" if on_host else parameter.device
            master = kept[name].to(where)
            masters[parameter] = master.pin_memory() if on_host and parameter.is_cuda else master
    return masters
