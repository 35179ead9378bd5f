"""Studies: claims of the field made testable, as stages over cells, judged from rows."""
