"""The HTTP side, held against a real server process."""
