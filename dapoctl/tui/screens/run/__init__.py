"""One run: its curves, log, samples, evaluations, configuration and events."""

from dapoctl.tui.screens.run.screen import RunScreen

__all__ = ["RunScreen"]
