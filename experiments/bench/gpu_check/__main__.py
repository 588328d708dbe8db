"""Everything that is to be measured on a GPU, each figure beside what is expected of it; gpu-check.json and gpu-check.md.

    python -m experiments.bench.gpu_check [--out DIR] [--only SECTION,...] [--dry]

Exit code 1: a section failed, or a figure is outside of its range.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

SECONDS = 420
"""After which no section begins: a minute remains of eight"""


def main(arguments: list[str]) -> int:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], prog="gpu_check")
    parser.add_argument("--out", default=".", help="folder for gpu-check.json and gpu-check.md (default: here)")
    parser.add_argument("--only", default="", help="sections, separated by commas")
    parser.add_argument("--dry", action="store_true", help="small shapes on a CPU: proves the script, measures nothing")
    options = parser.parse_args(arguments)
    import torch
    import transformers

    from experiments.bench.gpu_check.commands import commands, decoding
    from experiments.bench.gpu_check.figures import Figures
    from experiments.bench.gpu_check.kernels import attention, exactness
    from experiments.bench.gpu_check.subject import Subject
    from experiments.bench.gpu_check.update import states, update

    sections: dict[str, Callable[[Figures, Subject], None]] = {
        section.__name__: section for section in (exactness, attention, update, states, decoding, commands)
    }
    asked = [name for name in options.only.split(",") if name] or [*sections]
    if unknown := [name for name in asked if name not in sections]:
        parser.error(f"--only {unknown[0]}: no such section; there are {', '.join(sections)}")
    if not options.dry and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --dry proves the script on a CPU")
    subject = Subject(options.dry)
    about = {
        "device": "cpu (dry: no figure means anything)" if options.dry else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    figures = Figures(Path(options.out), SECONDS, about)
    for name in asked:
        figures.run(name, lambda found, name=name: sections[name](found, subject))  # type: ignore[misc]
        subject.forget_peak()
    print(f"wrote {figures.folder / 'gpu-check.md'} and {figures.folder / 'gpu-check.json'}")
    return 0 if figures.sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
