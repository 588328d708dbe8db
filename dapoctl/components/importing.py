"""Importing plugin code, and explaining its errors to its author."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from dapoctl.components.culprit import describe_error, error_location, short_path
from dapoctl.components.read_source import PARSING
from dapoctl.errors import PluginError

BROKEN = (Exception, SystemExit)
"""What a module may raise when imported; Ctrl-C is left to the user"""


def import_package(name: str, where: str) -> ModuleType:
    """The installed module called `name`; what it prints goes to stderr, so that it cannot spoil a command's output.

    Args:
        where: the component, for messages

    Raises:
        PluginError: it cannot be imported.
    """
    try:
        with PARSING, contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except BROKEN as error:
        raise PluginError(f"{where} cannot be imported: {_import_failure(error, name)}") from error


def import_file(path: Path) -> ModuleType:
    """The module in `path`; one per content, so that a long-lived process sees an edited file.

    Raises:
        PluginError: it cannot be imported.
    """
    source = path.read_bytes()
    digest = hashlib.sha256(str(path).encode() + b"\0" + source).hexdigest()
    name = f"dapoctl_file_{path.stem}_{digest[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        with PARSING, contextlib.redirect_stdout(sys.stderr):
            exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    except BROKEN as error:
        if isinstance(error, SyntaxError) and error.filename == str(path):
            message = f"plugin file `{path}`, line {error.lineno}: {_syntax_message(error)}"
        else:
            message = f"plugin file `{path}` cannot be imported: {_import_failure(error, name)}"
        del sys.modules[name]
        raise PluginError(message) from error
    return module


def _import_failure(error: BaseException, module: str) -> str:
    if isinstance(error, SyntaxError):
        return f"{short_path(Path(error.filename or '?'))}:{error.lineno}: {_syntax_message(error)}"
    location = _error_location(error, module)
    if isinstance(error, SystemExit):
        return f'it exits the program during import{location}; put that under `if __name__ == "__main__":`'
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module named `{error.name}`{location}; {_missing_hint(error.name, module)}"
    return describe_error(error) + location


def _error_location(error: BaseException, module: str) -> str:
    # A package that failed is no longer among the imported modules: its frames are those past importlib's.
    location = error_location(error, module)
    if not location:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_plugin_code(f.filename)]
        location = f" ({short_path(Path(frames[-1].filename))}:{frames[-1].lineno})" if frames else ""
    return location


def _is_plugin_code(filename: str) -> bool:
    return not filename.startswith("<") and filename != __file__ and Path(filename).parent.name != "importlib"


def _missing_hint(name: str, module: str) -> str:
    package = name.partition(".")[0]
    if package == module.partition(".")[0]:
        return "the entry point names a module that its package does not have: fix `pyproject.toml`, or reinstall the package"
    file = getattr(sys.modules.get(module), "__file__", None)
    if file and (Path(file).parent / f"{package}.py").exists():
        return f"a plugin file cannot import `{package}.py` beside it: put both in one file, or make a package"
    if package in sys.modules or _is_installed(package):
        return f"`{package}` is installed, but without it: another version may be needed"
    return f"`pip install {package}`, or the package that provides it"


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _syntax_message(error: SyntaxError) -> str:
    text = (error.text or "").strip()
    return f"{error.msg}{f': `{text}`' if text else ''}"
