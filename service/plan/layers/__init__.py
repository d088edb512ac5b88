"""Layers to their parameters: each family knows its tensors, their connections, and what frameworks draw."""
