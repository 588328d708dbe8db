"""The properties that every component must have, by subject."""
