"""A season of the market on one ledger: orders, readings, settlements, every micro counted."""
