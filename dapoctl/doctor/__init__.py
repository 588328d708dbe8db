"""What is known before a run is launched: the machine, the installed packages, the memory and work of the run."""
