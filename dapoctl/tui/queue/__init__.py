"""The queue and the GPUs."""
