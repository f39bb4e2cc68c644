"""Measuring plants: load, faults, reports, comparisons, and the papers' experiments run again."""
