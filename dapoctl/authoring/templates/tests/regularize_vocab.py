"""Idea against the conformance kit and its formula."""

import math

import pytest
import torch
from dapoctl.authoring.templates.components.regularize_vocab import Idea
from dapoctl.testing import check_component


def test_conforms() -> None:
    check_component(Idea)


def test_divergence() -> None:
    # (3/4, 1/4) against (1/4, 3/4), whose middle is (1/2, 1/2); equal distributions; ones without a common token.
    logits = torch.tensor([[math.log(3), 0.0], [1.0, 2.0], [100.0, -100.0]])
    ref_logits = torch.tensor([[0.0, math.log(3)], [2.0, 3.0], [-100.0, 100.0]])
    penalty = Idea(coef=0.5).regularize_vocab(logits, ref_logits)
    apart = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert penalty.tolist() == pytest.approx([0.5 * apart, 0.0, 0.5 * math.log(2)], abs=1e-6)
