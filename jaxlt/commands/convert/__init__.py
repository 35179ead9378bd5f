"""Import and export checkpoints of other frameworks, and look at them."""
