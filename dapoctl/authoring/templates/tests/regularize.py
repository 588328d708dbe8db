"""Idea against the conformance kit and its formula."""

import pytest
import torch
from dapoctl.authoring.templates.components.regularize import Idea
from dapoctl.testing import check_component, make_tokens


def test_conforms() -> None:
    check_component(Idea)


def test_penalty_and_gradient() -> None:
    # d = 0, 3 and -4 with widths of 4 and 3 give the sides of a triangle: sqrt(4^2 + 3^2) = 5.
    logprobs = torch.tensor([-1.0, -1.0, -6.0], requires_grad=True)
    tokens = make_tokens(logprobs, ref_logprobs=torch.tensor([-1.0, -4.0, -2.0]))
    penalty = Idea(coef=2.0, width=4.0).regularize(tokens)
    # d^2 / (sqrt(1 + (3/4)^2) + 1) = 9 / (5/4 + 1) = 4
    assert penalty.tolist()[:2] == pytest.approx([0.0, 2 * 4.0])
    # d / sqrt(1 + (d/width)^2) = 3 / (5/4)
    (gradient,) = torch.autograd.grad(penalty.sum(), logprobs)
    assert gradient.tolist()[:2] == pytest.approx([0.0, 2 * 2.4])
    narrow = Idea(coef=1.0, width=3.0).regularize(tokens)
    # 16 / (sqrt(1 + (4/3)^2) + 1) = 16 / (5/3 + 1)
    assert narrow.tolist()[2] == pytest.approx(6.0)
