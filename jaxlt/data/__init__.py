"""What the models eat: text sources, vocabularies, objectives, and batches that can be sought."""
