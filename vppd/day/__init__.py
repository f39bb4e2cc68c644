"""The day: what the members of a demonstration plant use, generate, ask for and bid."""
