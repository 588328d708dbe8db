"""Idea against the conformance kit and its formula."""

import pytest
from dapoctl.authoring.templates.components.weigh_tokens import Idea
from dapoctl.testing import check_component, make_batch


def test_conforms() -> None:
    check_component(Idea)


@pytest.mark.parametrize(
    # Two responses of 1 and 4 tokens: 1/5 for each token; 1/2 and 1/8; in between their geometric means.
    ("power", "short", "long"),
    [(0.0, 1 / 5, 1 / 5), (1.0, 1 / 2, 1 / 8), (0.5, 10**-0.5, 40**-0.5)],
)
def test_weights(power: float, short: float, long: float) -> None:
    weights = Idea(power=power).weigh_tokens(make_batch([[1.0, 0.0]], lengths=[1, 4], padding=1))
    assert weights[0].tolist() == pytest.approx([short, 0, 0, 0, 0])
    assert weights[1].tolist() == pytest.approx([long, long, long, long, 0])
