"""Tasks: where problems come from, and how a response is scored."""
