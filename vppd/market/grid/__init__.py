"""The security check (P3, §3.1–3.2) and the routing (P4, §3.3.2): which trades the grid carries."""
