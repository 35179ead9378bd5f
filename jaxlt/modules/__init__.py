"""Methods of the field: one file each, plugged into a backbone at its Sites."""
