"""Frames, TLS, peers, and the gate that checks everything before the core sees it."""
