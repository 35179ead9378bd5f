"""One thin file a verb of the command line."""
