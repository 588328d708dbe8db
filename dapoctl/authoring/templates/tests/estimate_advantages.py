"""Idea against the conformance kit and its formula."""

import pytest
from dapoctl.authoring.templates.components.estimate_advantages import Idea
from dapoctl.testing import check_component, make_batch


def test_conforms() -> None:
    check_component(Idea)


def test_negative_deviations_count_less() -> None:
    # The groups' means are 0.25 and 2.
    batch = make_batch([[1.0, 0.0, 0.0, 0.0], [3.0, 1.0]])
    advantages = Idea(below=0.5).estimate_advantages(batch)
    assert advantages.tolist() == pytest.approx([0.75, -0.125, -0.125, -0.125, 1.0, -0.5])
