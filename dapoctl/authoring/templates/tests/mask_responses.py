"""Idea against the conformance kit and its rule."""

from dapoctl.authoring.templates.components.mask_responses import Idea
from dapoctl.testing import check_component, make_batch


def test_conforms() -> None:
    check_component(Idea)


def test_short_responses_are_masked() -> None:
    batch = make_batch([[1.0, 0.0], [1.0, 0.0]], lengths=[3, 4, 9, 1])
    assert Idea(least=4).mask_responses(batch).tolist() == [False, True, True, False]
