"""What holds for every test."""

from __future__ import annotations

import os

# The tensors of tests are small: more threads only wait for each other. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing is loaded from a hub, and a name that is not there fails at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
