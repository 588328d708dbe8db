"""The run's configuration: schema, files, `--set`."""

from dapoctl.config.schema import RunConfig

__all__ = ["RunConfig"]
