"""Strings: scripts, normalising, transliteration, noise, cleaning, which language."""
