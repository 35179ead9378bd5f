"""A trained run opened: predictions, labels, answers, their judging and writing."""
