"""Stream version 1: from (seed, tensor name, element) to a value, bit for bit.

Every value is a pure function of its own random word. Nothing here keeps any state, so each element of a tensor can be
drawn on its own, in any order, on any number of threads.
"""

STREAM_VERSION = 1
