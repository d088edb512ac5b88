"""A port of the stream, written from docs/stream.md alone, with Python's own floats and integers; it is slow."""
