"""Optimizers, schedules, and banks of modules whose languages step alone."""
