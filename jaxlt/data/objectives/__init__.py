"""What a model learns from text: corrupted spans, prefixes, masks, denoisers."""
