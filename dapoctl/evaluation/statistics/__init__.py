"""The statistics of evaluations."""
