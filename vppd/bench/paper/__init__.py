"""The papers' experiments, run again: their printed numbers beside ours, and what was assumed."""
