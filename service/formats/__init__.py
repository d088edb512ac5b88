"""File formats: how a plan lies in bytes. The only code that knows a file format."""
