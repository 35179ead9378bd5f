"""What a run would need, and what a trace took."""
