"""Many processes as one run: meeting, losing one, stopping together."""
