"""Analysis of weights: measured statistics beside expected ones."""
