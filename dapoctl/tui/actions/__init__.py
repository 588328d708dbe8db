"""What screens ask of runs, evaluations and files."""
