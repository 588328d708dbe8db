"""A wheel holds `dapoctl`, `dapoctl_*` and its metadata, with the embedded model, and nothing else on top."""

import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
top = {name.split("/")[0] for name in names}
strange = {name for name in top if name != "dapoctl" and not name.startswith(("dapoctl_", "dapoctl-"))}
if strange:
    sys.exit(f"unexpected at the top of the wheel: {', '.join(sorted(strange))}")
for needed in (
    "dapoctl/models/tiny/model.safetensors",
    "dapoctl/models/tiny/dapoctl.toml",
    "dapoctl/py.typed",
    "dapoctl/tui/app.tcss",
    "dapoctl/authoring/templates/components/shape_rewards.py",
    "dapoctl/authoring/templates/tests/shape_rewards.py",
):
    if needed not in names:
        sys.exit(f"missing from the wheel: {needed}")
print(f"{sys.argv[1]}: {len(names)} files under {', '.join(sorted(top))}")
