"""Comparisons of evaluated runs: pairs, ablations, what they cost and how far they can be trusted."""
