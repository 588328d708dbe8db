"""One small working component for each stage."""
