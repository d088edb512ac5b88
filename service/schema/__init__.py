"""The wire models: what a caller may ask for, and how it is read, written and named."""
