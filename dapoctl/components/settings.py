"""What every table of a configuration has in common, a component's parameters included."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from dapoctl.components.none import read_none


class Settings(BaseModel):
    """A table: unknown keys are errors, docstrings under fields are their documentation, the word `none` is None."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, values: Any) -> Any:
        return read_none(cls, values)
