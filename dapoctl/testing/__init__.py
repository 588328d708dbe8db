"""The conformance kit: whether a component keeps the promises that a training step relies on.

Example:
    A component's whole test file:

    >>> from dapoctl.testing import check_component
    >>> from my_package import LengthBudget
    >>> def test_conformance():
    ...     check_component(LengthBudget)
    ...     check_component(LengthBudget, budget=64)

`dapoctl plugins check NAME_OR_FILE` runs the same checks. `make_batch` and `make_tokens` give small inputs for tests of a
component's own numbers. Nothing here needs pytest.
"""

from dapoctl.testing.check import check_component, examine
from dapoctl.testing.factories import make_batch, make_tokens
from dapoctl.testing.results import ConformanceError, Failure, Result

__all__ = ["ConformanceError", "Failure", "Result", "check_component", "examine", "make_batch", "make_tokens"]
