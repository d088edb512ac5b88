"""Stream version 1: from (seed, tensor name, element) to a value, bit for bit.

Every value is a pure function of its own random word. Nothing here keeps state, so any element of any tensor
can be drawn alone, in any order, on any number of threads.
"""

STREAM_VERSION = 1
