"""Initial weights over HTTP: the same bytes for the same specification and seed, everywhere, for ever."""

import os

__version__ = "0.1.0"

# This must be set before NumPy loads BLAS: its idle threads spin, which on busy cores costs far more than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
