"""Blocks, transactions, state, execution, proofs: pure functions over integers."""
