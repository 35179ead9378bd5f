"""Kinds of task: one file a kind. `kind` has the contract and the registry."""
