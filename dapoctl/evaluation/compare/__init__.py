"""Comparisons of evaluated runs: pairs, ablations, their costs, and differences in how they were measured."""
