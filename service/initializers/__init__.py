"""Initialization schemes: the scalar mathematics that leads from fans and gains to a distribution."""
