"""One run: its curves, log, samples, evaluations, configuration and events."""

from dapoctl.tui.run.screen import RunScreen

__all__ = ["RunScreen"]
