"""The guard: who may ask, how much at once, and what is seen of it."""
