"""Importing what plugin authors wrote, and saying what is wrong with it in their words."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from dapoctl.components.culprit import place, shown, told
from dapoctl.components.read_source import PARSING
from dapoctl.errors import PluginError

BROKEN = (Exception, SystemExit)
"""What a module may raise at its top level; Ctrl-C is the user's"""


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
        raise PluginError(f"{where} cannot be imported: {_reason(error, name)}") from error


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
            message = f"plugin file `{path}`, line {error.lineno}: {_syntax(error)}"
        else:
            message = f"plugin file `{path}` cannot be imported: {_reason(error, name)}"
        del sys.modules[name]
        raise PluginError(message) from error
    return module


def _reason(error: BaseException, module: str) -> str:
    if isinstance(error, SyntaxError):
        return f"{shown(Path(error.filename or '?'))}:{error.lineno}: {_syntax(error)}"
    at = _place(error, module)
    if isinstance(error, SystemExit):
        return f'it ends the program while it is imported{at}; put that under `if __name__ == "__main__":`'
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module named `{error.name}`{at}; {_missing(error.name, module)}"
    return told(error) + at


def _place(error: BaseException, module: str) -> str:
    # A package that failed is no longer among the imported modules: its frames are those past importlib's.
    found = place(error, module)
    if not found:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _foreign(f.filename)]
        found = f" ({shown(Path(frames[-1].filename))}:{frames[-1].lineno})" if frames else ""
    return found


def _foreign(filename: str) -> bool:
    return not filename.startswith("<") and filename != __file__ and Path(filename).parent.name != "importlib"


def _missing(name: str, module: str) -> str:
    head = name.partition(".")[0]
    if head == module.partition(".")[0]:
        return "the entry point names what its package does not have: mend `pyproject.toml`, or reinstall the package"
    file = getattr(sys.modules.get(module), "__file__", None)
    if file and (Path(file).parent / f"{head}.py").exists():
        return f"a plugin file stands alone, `{head}.py` beside it is not seen: put both in one file, or make a package"
    if head in sys.modules or _is_installed(head):
        return f"`{head}` is installed, but not with it: another version may be needed"
    return f"`pip install {head}`, or the package that provides it"


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _syntax(error: SyntaxError) -> str:
    text = (error.text or "").strip()
    return f"{error.msg}{f': `{text}`' if text else ''}"
