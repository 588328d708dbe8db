"""Observers that show runs in trackers outside dapoctl: an example of a package with optional dependencies."""
