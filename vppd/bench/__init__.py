"""The bench: real daemons under load, measured from outside; the papers' experiments run again."""
