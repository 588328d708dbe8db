"""The run store: what a run was asked to do, did, and is doing."""
