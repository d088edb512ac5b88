"""Distributions: the laws that weights follow, and the only code that turns random words into weights."""
