"""The mathematics of distributions: exact matrix products, the orthogonal factor, normal probabilities."""
