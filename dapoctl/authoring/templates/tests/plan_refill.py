"""Idea against the conformance kit and what it promises."""

from dapoctl import Refill
from dapoctl.authoring.templates.components.plan_refill import Idea
from dapoctl.testing import check_component


def test_conforms() -> None:
    check_component(Idea)


def test_the_plan_is_what_was_asked_for() -> None:
    plan = Idea(rounds=4, staleness=2).plan_refill()
    assert plan == Refill(max_rounds=4, on_exhausted="train_partial", max_staleness=2)
