"""Delivery: threads that draw, and the order in which what they have drawn is handed on."""
