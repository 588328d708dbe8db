"""Idea against the conformance kit and its formula."""

import math

import pytest
import torch
from dapoctl.authoring.templates.components.policy_loss import Idea
from dapoctl.testing import check_component, make_tokens


def test_conforms() -> None:
    check_component(Idea)


def test_loss_and_gradient() -> None:
    # The ratios are 1, 2 and 1/2.
    old = torch.tensor([-1.0, -2.0, -0.5])
    logprobs = (old + torch.tensor([0.0, math.log(2), -math.log(2)])).requires_grad_()
    tokens = make_tokens(logprobs, old, torch.tensor([1.0, 1.0, -1.0]))
    loss = Idea(coef=0.5).policy_loss(tokens)
    penalty = 0.5 * math.log(2) ** 2 / 2
    assert loss.tolist() == pytest.approx([-1.0, -2.0 + penalty, 0.5 + penalty])
    # -A r + coef log r
    (gradient,) = torch.autograd.grad(loss.sum(), logprobs)
    assert gradient.tolist() == pytest.approx([-1.0, -2.0 + 0.5 * math.log(2), 0.5 - 0.5 * math.log(2)])
