"""Runs in Weights & Biases (https://docs.wandb.ai)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PrivateAttr

from dapoctl import RunInfo, UserError
from dapoctl_trackers.tracker import Tracker

if TYPE_CHECKING:
    from dapoctl.config import RunConfig

LAST_WORDS = 60.0
"""Seconds that a run's end waits for unsent data"""


class Wandb(Tracker):
    """Show a run's metrics and configuration in Weights & Biases; needs `pip install wandb` and `wandb login`.

    Its files are in the run's folder, under `wandb/`; `wandb sync RUN/wandb/offline-run-*` uploads what was written offline.
    The run has its dapoctl id there too, so a resumed run continues the same one: steps that are trained again after a
    crash have the same values and are shown once.
    """

    library: ClassVar[str] = "wandb"

    mode: Literal["online", "offline"] = "online"
    """online, or offline: write to the run's folder alone, for `wandb sync` later."""
    entity: str | None = None
    """User or team that the project belongs to; by default that of the login."""
    tags: list[str] = []
    """Tags to find the run by."""

    _run: Any = PrivateAttr(default=None)

    def check_run(self, config: RunConfig) -> None:
        """Refuse a run without the package or, online, without a login."""
        super().check_run(config)
        if self.mode == "online":
            import wandb

            if not wandb.login(prompt=False):
                raise UserError(
                    f"`{self.name}` is not logged in: `wandb login`, or set WANDB_API_KEY, or write to the run's folder"
                    f" alone with --set {self.name}.mode=offline"
                )

    def begin(self, run: RunInfo) -> None:
        import wandb

        settings = wandb.Settings(console="off", silent=True)
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            id=run.id,
            name=self.run_name or run.id,
            tags=self.tags,
            config=dict(run.config),
            dir=str(run.directory),
            mode=self.mode,
            resume="allow",
            settings=settings,
        )

    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        # Values that are not finite are sent as they are: wandb can represent them.
        self._run.log(dict(metrics), step=step)

    def finish(self, state: str) -> None:
        # Without a network this would wait for hours.
        thread = threading.Thread(target=self._run.finish, args=(int(state == "failed"),), daemon=True)
        thread.start()
        thread.join(LAST_WORDS)
        if thread.is_alive():
            raise TimeoutError(
                f"not everything was sent within {LAST_WORDS:.0f} s; `wandb sync` on the folders in the run's `wandb/`"
                " sends the rest"
            )
