"""AdamW whose moments are kept, between two updates, smaller than float32 or elsewhere than on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from dapoctl.config.budget import STATE_CHUNK
from dapoctl.training.optimizer.forms import Form

MOMENTS = (("exp_avg", True), ("exp_avg_sq", False))
"""(name, as torch has it; whether it has a sign)"""


class CompactAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) in float32 arithmetic, torch's own, on moments that are kept in a
    `Form`.

    A parameter is updated a chunk after the other: the chunk's moments are made float32, updated, and kept again, so that no
    more than a chunk of them is ever float32 on the device.
    """

    def __init__(
        self,
        parameters: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        form: Form,
        masters: Mapping[nn.Parameter, Tensor] | None = None,
        eps: float = 1e-8,
    ) -> None:
        self.form = form
        self.masters = masters or {}
        """Float32 values of parameters that have fewer bits: these are updated, and the parameters rounded to the nearest"""
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "the gradient is there already"
        devices = set()
        for index, (group, parameter) in enumerate(self._parameters()):
            if parameter.grad is not None:
                self._update(group, parameter, index)
                devices.add(parameter.device)
        for device in devices:
            if device.type == "cuda":
                # Copies to the host may be under way still, and a checkpoint reads there.
                torch.cuda.current_stream(device).synchronize()
        return None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            KeyError: its moments were kept in another form.
        """
        super().load_state_dict(state_dict)
        # torch has given each its parameter's type and device.
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        for key, (_, parameter) in zip(saved, self._parameters(), strict=True):
            if key in state_dict["state"]:
                kept, state = state_dict["state"][key], self._fresh(parameter)
                for name, place in state.items():
                    place.copy_(kept[name])
                self.state[parameter] = state

    def _parameters(self) -> Iterable[tuple[dict[str, Any], nn.Parameter]]:
        return ((group, parameter) for group in self.param_groups for parameter in group["params"])

    def _fresh(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = {"step": torch.zeros(())}
        for name, signed in MOMENTS:
            state |= {f"{name}{part}": place for part, place in self.form.zeros(parameter, signed).items()}
        return state

    def _update(self, group: dict[str, Any], parameter: nn.Parameter, index: int) -> None:
        if parameter not in self.state:
            self.state[parameter] = self._fresh(parameter)
        state = self.state[parameter]
        beta1, beta2 = group["betas"]
        weights, gradient = parameter.data.view(-1), parameter.grad
        exact = self.masters.get(parameter, parameter.data).view(-1)
        assert gradient is not None
        gradient = gradient.reshape(-1)
        done = int(state["step"])
        generator = torch.Generator(parameter.device).manual_seed((done << 20) + index)
        kept = {name: self._moment(state, name) for name, _ in MOMENTS}
        for start in range(0, len(weights), STATE_CHUNK):
            part = slice(start, min(start + STATE_CHUNK, len(weights)))
            updated = exact[part].to(weights.device, non_blocking=True)
            moments = {
                name: self.form.widen(kept[name], part, parameter.device, signed=signed) for name, signed in MOMENTS
            }
            adamw(
                [updated],
                [gradient[part]],
                [moments["exp_avg"]],
                [moments["exp_avg_sq"]],
                [],
                [torch.tensor(float(done), device=parameter.device)],
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )
            if parameter in self.masters:
                weights[part] = updated
            if exact.device != updated.device:
                exact[part].copy_(updated, non_blocking=True)
            for name, signed in MOMENTS:
                self.form.keep(kept[name], part, moments[name], generator, signed=signed)
        state["step"] += 1

    def _moment(self, state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
        """The parts of a moment, by what follows its name."""
        return {part: state[f"{name}{part}"] for part in self.form.parts if f"{name}{part}" in state}
