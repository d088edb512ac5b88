"""Delivery: the threads that draw, and the order in which their results are handed on."""
