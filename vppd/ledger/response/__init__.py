"""Demand response on chain: who is called, by which event, and what came of it (P1 §4 Table 2)."""
