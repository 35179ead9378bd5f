"""Scores, one file a family; no model and no data pipeline in here."""
