"""Compiles for machines that are not there: whether a run fits, its traffic and time."""
