"""Placebos: rewards that say nothing, or the wrong thing, about whether a response is right."""
