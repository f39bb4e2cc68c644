"""The command line: thin, lazy, and the place where errors meet people."""
