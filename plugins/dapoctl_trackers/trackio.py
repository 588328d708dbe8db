"""Runs in Trackio (https://huggingface.co/docs/trackio), a tracker that needs no account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PrivateAttr

from dapoctl import RunInfo
from dapoctl_trackers.tracker import Tracker


class Trackio(Tracker):
    """Show a run's metrics and configuration in Trackio: `trackio show` opens its dashboard; needs `pip install trackio`.

    Everything stays on this machine, in TRACKIO_DIR (by default in Hugging Face's cache in the home folder), unless
    `space` names a Space. A resumed run continues under the same name; steps that are trained again after a crash have the
    same values and appear twice.
    """

    library: ClassVar[str] = "trackio"

    space: str | None = None
    """Hugging Face Space to send the run to, `user/space`; by default it stays on this machine."""

    _run: Any = PrivateAttr(default=None)

    def begin(self, run: RunInfo) -> None:
        import trackio

        self._run = trackio.init(
            project=self.project,
            name=self.run_name or run.id,
            config=dict(run.config),
            space_id=self.space,
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        # Values that are not finite are sent as they are: Trackio can represent them.
        self._run.log(dict(metrics), step=step)

    def finish(self, state: str) -> None:  # noqa: ARG002 (Trackio shows no states)
        import trackio

        # Not the run's own `finish`: the library would finish it again, with output, when the process ends.
        trackio.finish()
