"""The command line: the same options and the same bytes as over HTTP."""
