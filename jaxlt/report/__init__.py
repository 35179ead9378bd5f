"""What studies found, for a reader: figures, tables, one page; from rows and verdicts alone."""
