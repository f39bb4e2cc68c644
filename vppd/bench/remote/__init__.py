"""Measuring on other machines over SSH: they need Python, an account and an address, no more."""
