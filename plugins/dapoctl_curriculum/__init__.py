"""Curricula: which prompts and groups are worth the compute, judged by how often the policy solves them."""
