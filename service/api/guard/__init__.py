"""The guard: who may send requests, how many are served at once, and what is logged and counted."""
