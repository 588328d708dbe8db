"""What must hold of every component, by what it is about."""
