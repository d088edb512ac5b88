"""Initialization schemes: scalar mathematics from fans to a distribution, and the distributions that draw."""
