"""The files around a new component, as `string.Template`s."""

from string import Template

PYPROJECT = Template("""\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$distribution"
version = "0.1.0"
description = "$description"
readme = "README.md"
requires-python = ">=3.11"
# Choose a license (https://choosealicense.com), add its text as LICENSE, and name it here:
# license = "Apache-2.0"
# license-files = ["LICENSE"]
dependencies = ["dapoctl>=$version"$requirements]

[project.optional-dependencies]
test = ["pytest>=8"]

# Makes the component known to dapoctl, under the name on the left. Install again after a change here.
[project.entry-points."dapoctl.plugins"]
$component = "$package.component:$cls"

[tool.pytest.ini_options]
testpaths = ["tests"]
filterwarnings = ["error"]
""")

README = Template("""\
# $distribution

`$component`, a component for [dapoctl]: $description

```
pip install -e ".[test]"                         # again after a change of pyproject.toml
dapoctl plugins check $component
$run
```

`dapoctl plugins show $component` lists its parameters, `python -m pytest` runs its tests. The component is in
[`src/$package/component.py`](src/$package/component.py), and implements the stage `$stage`.

[dapoctl]: https://pypi.org/project/dapoctl/
""")

GITIGNORE = """\
__pycache__/
*.egg-info/
build/
dist/
.venv/
.pytest_cache/
.ruff_cache/
.mypy_cache/
runs/
"""
