"""Decoding: search, choices, constraints, all in one compiled loop."""
