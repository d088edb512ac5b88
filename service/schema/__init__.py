"""The models of requests: what a caller may ask for, and how specifications are read, written and addressed."""
