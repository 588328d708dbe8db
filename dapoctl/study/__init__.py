"""Studies: arms and seeds planned before they are run, and what may be said of them afterwards."""
