"""The rules of HTTP: bodies, negotiation, preconditions and ranges, options, downloads, problems."""
