"""GKL: Generalized Kullback-Leibler divergence as a regularizer."""
