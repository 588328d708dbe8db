"""Idea against the conformance kit and its rule."""

from dapoctl.authoring.templates.components.filter_groups import Idea
from dapoctl.testing import check_component, make_batch


def test_conforms() -> None:
    check_component(Idea)


def test_solved_groups_are_left_out() -> None:
    # 4 of 4, 3 of 4 and 0 of 4 responses are correct.
    batch = make_batch([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, -1.0, -1.0]])
    assert Idea(most=0.9).filter_groups(batch).tolist() == [False, True, True]
    assert Idea(most=0.5).filter_groups(batch).tolist() == [False, False, True]
