"""Virtual environments in which packages can be installed without a network and without touching this one."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path


def virtual_environment(folder: Path, *, with_this_project: bool) -> dict[str, str]:
    """Make one in `folder` that sees the packages of this one; the variables for a process that is to use it.

    Without this project it has no dapoctl, though all that dapoctl needs.
    """
    # pip and setuptools are those of this environment: unpacking others takes longer than what they are for, and those that
    # come with Python may be too old for pyproject.toml.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300)
    (packages,) = folder.glob("lib/python*/site-packages")
    sites = dict.fromkeys(path for path in [*site.getsitepackages(), *sys.path] if path.endswith("-packages"))
    # A folder that is added as a site has its own .pth files read: through these, an editable install is found.
    lines = [f"import site; site.addsitedir({path!r})" if with_this_project else path for path in sites]
    (packages / "below.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_script(folder, "pip", "pip._internal.cli.main")
    if with_this_project:
        _write_script(folder, "dapoctl", "dapoctl.cli")
    left_out = ("PYTHON", "DAPOCTL", "VIRTUAL_ENV", "PIP")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    return kept | {
        "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        # pip reads this one the other way round: 0 turns isolation off.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "TERM": "dumb",
    }


def _write_script(folder: Path, name: str, module: str) -> None:
    """A command that calls a module's `main`, as installers write them."""
    path = folder / "bin" / name
    path.write_text(
        f"#!{folder}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n", encoding="utf-8"
    )
    path.chmod(0o755)
