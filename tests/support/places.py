"""Folders that tests read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout"""
MODELS = Path(os.environ.get("DAPOCTL_TEST_MODELS", ROOT / "models"))
"""Real pretrained models, if they were fetched"""
DATA = ROOT.parent / "shared" / "data"
"""Real problem sets, if they are there"""
