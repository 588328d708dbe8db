"""What there is to measure on a GPU, in one command: `python -m experiments.bench.gpu_check`."""
