"""Idea against the conformance kit and its formula."""

import pytest
from dapoctl.authoring.templates.components.shape_rewards import Idea
from dapoctl.testing import check_component, make_batch


def test_conforms() -> None:
    check_component(Idea)


def test_only_tokens_past_the_budget_cost() -> None:
    batch = make_batch([[1.0, 0.0, 1.0]], lengths=[3, 8, 12])
    terms = Idea(budget=8, rate=0.25).shape_rewards(batch)
    # 4 tokens too many, at 0.25 each.
    assert terms.tolist() == pytest.approx([0.0, 0.0, -1.0])
