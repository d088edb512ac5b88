"""The mathematics of distributions: reproducible matrix products, orthogonal factors, normal probabilities."""
