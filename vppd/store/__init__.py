"""The append-only store: one SQLite database, one writer."""
