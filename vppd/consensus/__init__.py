"""Replicated agreement: one vote–lock–decide core behind a pure boundary (protocol.md)."""
