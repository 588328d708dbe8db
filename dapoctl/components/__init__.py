"""Components: what they are, where they are found, and how a run's set of them is resolved."""
