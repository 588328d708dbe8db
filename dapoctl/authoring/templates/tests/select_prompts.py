"""Idea against the conformance kit and its formula."""

import numpy as np
import pytest
from dapoctl import Problem, PromptPool
from dapoctl.authoring.templates.components.select_prompts import Idea
from dapoctl.testing import check_component


def pool() -> PromptPool:
    """Three problems: never sampled, solved 4 times of 8, solved 8 times of 8."""
    return PromptPool(
        problems=[Problem(str(index), "", "") for index in range(3)],
        attempts=np.array([0, 8, 8]),
        solved=np.array([0, 4, 8]),
        last_step=np.array([-1, 1, 1]),
        seed=0,
        step=2,
        rng=np.random.default_rng(0),
    )


def test_conforms() -> None:
    check_component(Idea)


def test_weights() -> None:
    # The shares solved are 1/2, 5/10 and 9/10.
    assert Idea(floor=0.05).weights(pool()).tolist() == pytest.approx([0.3, 0.3, 0.14])


def test_draws_are_distinct_while_there_are_enough() -> None:
    assert sorted(Idea().select_prompts(pool(), 3)) == [0, 1, 2]
    assert len(Idea().select_prompts(pool(), 7)) == 7
