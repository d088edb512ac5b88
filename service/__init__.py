"""Initial weights over HTTP: the same bytes for the same specification and seed, everywhere, for ever."""

import os

__version__ = "0.1.0"

# Before NumPy loads it: idle threads of BLAS spin, which on busy cores costs many times what they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
