"""What scorers take and refuse of responses whose label is known: right ones, wrong ones, and exploits."""
