"""Vocabularies: their files, training, how text and words fall into pieces."""
