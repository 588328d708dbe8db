"""DAPO: clip-higher, dynamic sampling, token-level loss, overlong shaping."""
