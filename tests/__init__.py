"""Tests, by what they need: nothing (unit), a command (cli), a screen (tui), processes, or real models."""
