"""Who belongs to a plant, what each may do, and which meters count (P1 §4 Table 2, P2)."""
