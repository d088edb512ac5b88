"""The command line: the same words and the same bytes as over HTTP."""
