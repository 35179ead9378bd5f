"""Files of text and tables: where they lie, what they hold, how they are split."""
