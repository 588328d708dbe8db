"""The main screens look as they did: see `tests/support/tui_snapshots.py`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.tui_snapshots import FOLDER_OF_PICTURES, SCENES, Scene, differences, picture, showcase

UPDATE = "DAPOCTL_UPDATE_SNAPSHOTS"


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_screen_looks_as_it_did(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FOLDER_OF_PICTURES / f"{scene.name}.svg"
    wanted = "" if os.environ.get(UPDATE) or not kept.is_file() else kept.read_text()
    with showcase(tmp_path, monkeypatch) as root:
        svg = asyncio.run(picture(root, scene, wanted))
    if os.environ.get(UPDATE):
        kept.parent.mkdir(exist_ok=True)
        if not kept.exists() or differences(kept.read_text(), svg):
            kept.write_text(svg)
    assert kept.is_file(), f"there is no picture of {scene.name} yet: {UPDATE}=1 takes it"
    found = differences(kept.read_text(), svg)
    (tmp_path / "new.svg").write_text(svg)
    assert not found, f"{scene.name} differs; see {tmp_path / 'new.svg'}, or {UPDATE}=1 to keep it:\n" + "\n".join(
        found[:40]
    )


def test_pictures_are_compared_by_text_and_style() -> None:
    text = '<text class="terminal-{0}" x="0" y="20" textLength="36" clip-path="url(#a)">&#160;1&#160;{1}</text>'
    one = ".terminal-r1 { fill: #fff }\n" + text.format("r1", "Runs")
    assert differences(one, ".terminal-r7 { fill: #fff }\n" + text.format("r7", "Runs")) == []
    assert differences(one, ".terminal-r1 { fill: #fff }\n" + text.format("r1", "Rums")) == [
        "+ 20 0 [fill: #fff] ' 1 Rums'",
        "- 20 0 [fill: #fff] ' 1 Runs'",
    ]
    assert len(differences(one, ".terminal-r1 { fill: #f00 }\n" + text.format("r1", "Runs"))) == 2


def test_every_picture_belongs_to_a_scene() -> None:
    assert {path.stem for path in FOLDER_OF_PICTURES.glob("*.svg")} == {scene.name for scene in SCENES}
