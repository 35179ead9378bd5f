"""One script a ratio: both sides measured in one run, alternating, each in a process of its own."""
