"""Xavier weights over HTTP: the same bytes for the same specification and seed, everywhere, for ever."""

__version__ = "0.1.0"
