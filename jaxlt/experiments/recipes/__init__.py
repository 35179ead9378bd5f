"""Recipes: a study each, in the order in which a reader would tell it."""
