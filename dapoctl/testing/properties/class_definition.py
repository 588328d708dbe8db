"""Properties of the class, checked before any hook is called."""

from __future__ import annotations

import warnings

from pydantic import ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import PydanticJsonSchemaWarning

from dapoctl.errors import PluginError, validation_message
from dapoctl.testing.results import Broken
from dapoctl.testing.subject import Subject


def builds(subject: Subject, _hook: str) -> str:
    """It can be built from its defaults, or from the given parameters, and closed without being used."""
    case = f"{subject.cls.__name__}({', '.join(f'{key}={value!r}' for key, value in subject.parameters.items())})"
    try:
        subject.build().close()
    except ValidationError as error:
        missing = [
            str(detail["loc"][0])
            for detail in error.errors()
            if detail["type"] == "missing" and len(detail["loc"]) == 1
        ]
        fix = ""
        if missing:
            keys, values = ", ".join(missing), ", ".join(f"{name}=..." for name in missing)
            options = " ".join(f"--set {name}=..." for name in missing)
            fix = (
                f"Give {keys} a default that works, or check the component with values for it"
                f" (`check_component({subject.cls.__name__}, {values})`, `dapoctl plugins check NAME {options}`)."
            )
        raise Broken(case, validation_message(error, subject.cls, prefix=subject.name), fix) from error
    except Exception as error:
        raise Broken(case, f"{type(error).__name__}: {error}") from error
    return f"with {', '.join(subject.parameters)} as given" if subject.parameters else ""


def docstring(subject: Subject, _hook: str) -> str:
    """It has a docstring of its own, not one inherited from a base class."""
    if not str(vars(subject.cls).get("__doc__") or "").strip():
        raise Broken(f"class {subject.cls.__name__}", "it has no docstring")
    return ""


def fields(subject: Subject, _hook: str) -> str:
    """Every parameter is described, and is part of the JSON schema."""
    cls = subject.cls
    case = f"class {cls.__name__}"
    try:
        with warnings.catch_warnings():
            # A default that JSON cannot express is left out of the schema; the field is in it.
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
            properties = cls.model_json_schema().get("properties", {})
    except PydanticInvalidForJsonSchema as error:
        raise Broken(
            case,
            f"its parameters have no JSON schema: {str(error).splitlines()[0]}",
            "Use types that TOML can express: numbers, texts, booleans, lists and tables; keep other things in a PrivateAttr.",
        ) from error
    names = {field.alias or name: field for name, field in cls.model_fields.items()}
    for name, field in names.items():
        if not (field.description or "").strip():
            raise Broken(f"{case}, field `{name}`", "it has no description")
        if name not in properties:
            raise Broken(f"{case}, field `{name}`", "it is not in the JSON schema")
    return "" if names else "it has no parameters"


def hooks(subject: Subject, _hook: str) -> str:
    """At least one method is a hook, and every method that looks like one is one."""
    case = f"class {subject.cls.__name__}"
    try:
        implemented = subject.hooks
    except PluginError as error:
        raise Broken(case, str(error)) from error
    if not implemented:
        raise Broken(case, "it implements no hook")
    return ", ".join(f"wraps {name}" if name in subject.wrapped else name for name in implemented)
