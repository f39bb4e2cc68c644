"""Whole clusters in one deterministic process: virtual time, seeded faults, checkers."""
