"""What a tree is, and what its arcs score."""

import numpy as np


def tree_scores(scores: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Returns [B] float64: the sum of the arcs of trees `heads` [B, T] (-1: no word)."""
    heads = np.asarray(heads)
    rows, words = np.nonzero(heads >= 0)
    arcs = np.asarray(scores, np.float64)[rows, heads[rows, words], words + 1]
    return np.bincount(rows, arcs, minlength=len(heads))


def is_tree(heads: np.ndarray, length: int | None = None) -> bool:
    """Says whether heads [T] (0: root) make a tree with exactly one word on the root."""
    heads = np.asarray(heads)[:length]
    if not len(heads) or (heads == 0).sum() != 1 or heads.min() < 0 or heads.max() > len(heads):
        return False
    at = heads
    for _ in range(len(heads).bit_length()):  # twice as far up the tree each time
        at = np.where(at > 0, at[at - 1], 0)
    return not at.any()
