"""Runs side by side, and their responses."""
