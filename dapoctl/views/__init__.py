"""Results as words, tables and figures, for the command line and the terminal UI alike."""
