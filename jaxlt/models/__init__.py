"""Backbones: the T5.1.1 family as encoder-decoder and as encoder alone."""
