"""Maximum spanning trees with exactly one root: from arc scores to the heads of words.

    heads = best_trees(scores, lengths)     # [B, T+1, T+1], [B] -> [B, T] int32

scores[b, h, d] is the score of the arc from head h to dependent d; 0 is the root, words are 1 .. T.
The tree is the best of all those in which one word alone hangs on the root. Runs on the host in
numpy, a whole batch of sentences at a time.

The algorithm is Chu-Liu and Edmonds', with cycles found by growing a path (Gabow and others, 1986):
walk from a group of words to the head of its best incoming arc; where the walk meets itself, what
it went round becomes one group. Entering a group costs what its own best arc would have given, so
that amount is taken off all arcs into it. The root takes no part until all words are one group, and
only then is its best arc chosen: so there is one root by construction, without a penalty on root
arcs (which rounds), and without trying each word in turn (which costs n times as much).
n words take 3n steps at most, each of O(n) work.
"""

import numpy as np

from jaxlt.errors import UserError

_CHUNK_ENTRIES = 2**22  # arcs held at once, 10 bytes each


def best_trees(scores: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the heads [B, T] int32 of the best trees; 0 is the root, and -1 stands after the end.

    scores: [B, T+1, T+1], head by dependent; lengths: [B] words of each sentence (0 to T). What is
    on the diagonal, in column 0 and after a sentence's end is not read. Sums are made in float64:
    the tree is exact up to their rounding. Of equal trees one is returned, the same whatever else
    is in the batch.
    """
    scores, lengths = np.asarray(scores), np.asarray(lengths, np.int64)
    _check_shapes(scores, lengths)
    heads = np.full((len(lengths), scores.shape[1] - 1), -1, np.int32)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):  # sentences of like length together, so that little is padding
        rows = order[start : start + _chunk_rows(lengths[order], start)]
        longest = int(lengths[rows[-1]])
        part = scores[rows, : longest + 1, 1 : longest + 1]
        heads[rows, :longest] = _Forest(part, lengths[rows], rows).heads()
        start += len(rows)
    return heads


def _check_shapes(scores: np.ndarray, lengths: np.ndarray) -> None:
    if scores.ndim != 3 or scores.shape[1] != scores.shape[2] or scores.shape[1] < 1:
        raise UserError(
            f"Arc scores have the shape {scores.shape}; they must be [sentences, T+1, T+1], head "
            "by dependent with the root first."
        )
    if lengths.shape != scores.shape[:1]:
        raise UserError(
            f"There are arc scores of {len(scores)} sentences, and lengths of shape "
            f"{lengths.shape}; they must be one number a sentence."
        )
    if lengths.size and not 0 <= lengths.min() <= lengths.max() < scores.shape[1]:
        raise UserError(
            f"Sentences of {lengths.min()} to {lengths.max()} words do not fit arc scores for "
            f"0 to {scores.shape[1] - 1} words."
        )


def _chunk_rows(lengths: np.ndarray, start: int) -> int:
    """How many sentences from `start` on, in order of length, are held at once."""
    count = 1
    while start + count < len(lengths):
        longest = int(lengths[start + count])
        if (count + 1) * longest * (longest + 1) > _CHUNK_ENTRIES:
            break
        count += 1
    return count


class _Forest:
    """Groups of words of R sentences, from single words to one group, and back to single words.

    A group lives in the slot of one of its words. For slot s, `into[r, s, h]` is the best arc from
    head h (0: root) into any word of the group, less what entering it costs, and `word[r, s, h]` is
    the word that this arc goes to. Heads are never grouped: `group[r, h]` says where they are now.
    """

    def __init__(self, scores: np.ndarray, lengths: np.ndarray, names: np.ndarray):
        """scores: [R, n+1, n] head by word; lengths: [R], 1 to n; names: [R], for errors."""
        rows, n = len(scores), scores.shape[2]
        self.lengths = lengths
        self.into = np.ascontiguousarray(scores.swapaxes(1, 2), np.float64)
        real = np.arange(n) < lengths[:, None]
        inside = real[:, :, None] & np.concatenate([np.ones((rows, 1), bool), real], 1)[:, None]
        inside[:, np.arange(n), np.arange(1, n + 1)] = False
        bad = inside & ~np.isfinite(self.into)
        if bad.any():
            row, word, head = (int(i[0]) for i in np.nonzero(bad))
            raise UserError(
                f"Sentence {int(names[row])}: the score of the arc from {head} to {word + 1} is "
                f"{self.into[row, word, head]}. Scores must be finite; give an arc that must not "
                "be taken a large negative number."
            )
        self.into[~inside] = -np.inf
        self.word = np.broadcast_to(np.arange(n, dtype=np.int16)[:, None], self.into.shape).copy()
        self.group = np.broadcast_to(np.arange(n, dtype=np.int16), (rows, n)).copy()
        self.arc = np.zeros((rows, n, 2), np.int32)  # (head, word) of a slot's chosen arc
        # The walk of each sentence: slots path[0 .. depth], and where a slot is on it (-1: not).
        self.path = np.zeros((rows, n), np.int32)
        self.place = np.full((rows, n), -1, np.int32)
        self.place[:, 0] = 0
        self.depth = np.zeros(rows, np.int32)
        self.target = np.full(rows, -1, np.int32)  # while a cycle is joined: its lowest place

    def heads(self) -> np.ndarray:
        """Returns the heads [R, n] int32; -1 after the end of a sentence."""
        groups = self.lengths.copy()
        merges = []
        while (groups > 1).any():
            choosing = np.nonzero((groups > 1) & (self.target < 0))[0]
            if len(choosing):
                self._choose(choosing)
            joining = np.nonzero(self.target >= 0)[0]
            if len(joining):
                merges.append(self._join(joining))
                groups[joining] -= 1
        rows = np.arange(len(groups))
        last = self.path[rows, 0]
        self.arc[rows, last, 0] = 0
        self.arc[rows, last, 1] = self.word[rows, last, 0]
        for merge in reversed(merges):
            self._split(*merge)
        real = np.arange(self.place.shape[1]) < self.lengths[:, None]
        return np.where(real, self.arc[:, :, 0], -1)

    def _choose(self, rows: np.ndarray) -> None:
        """Takes the best arc into the last group of each walk; its head is next, or a cycle."""
        top = self.path[rows, self.depth[rows]]
        best = np.argmax(self.into[rows, top, 1:], axis=1) + 1
        self.into[rows, top] -= self.into[rows, top, best][:, None]
        self.arc[rows, top, 0] = best
        self.arc[rows, top, 1] = self.word[rows, top, best]
        source = self.group[rows, best - 1]
        place = self.place[rows, source]
        self.target[rows] = place
        on = place < 0
        rows, source = rows[on], source[on]
        self.depth[rows] += 1
        self.path[rows, self.depth[rows]] = source
        self.place[rows, source] = self.depth[rows]

    def _join(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Joins the last two groups of each walk in the slot of the lower.

        Returns what `_split` undoes: rows, the lower slot, the upper slot, which words were in the
        lower [rows, n], and the lower's own arc.
        """
        depth = self.depth[rows]
        upper, lower = self.path[rows, depth], self.path[rows, depth - 1]
        old, new = self.into[rows, lower], self.into[rows, upper]
        take = new > old
        self.word[rows, lower] = np.where(take, self.word[rows, upper], self.word[rows, lower])
        group = self.group[rows]
        within = group == lower[:, None]
        group = np.where(group == upper[:, None], lower[:, None], group).astype(np.int16)
        self.group[rows] = group
        joined = np.maximum(old, new)
        joined[:, 1:][group == lower[:, None]] = -np.inf  # no arc from a group into itself
        self.into[rows, lower] = joined
        arc = self.arc[rows, lower]
        # Until the cycle is closed, what is joined is entered as its upper end is.
        self.arc[rows, lower] = self.arc[rows, upper]
        self.place[rows, upper] = -1
        self.depth[rows] = depth - 1
        self.target[rows] = np.where(depth - 1 > self.target[rows], self.target[rows], -1)
        return rows, lower, upper, within, arc

    def _split(
        self,
        rows: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        within: np.ndarray,
        arc: np.ndarray,
    ) -> None:
        """Undoes a join: the part that the tree enters keeps that arc, the other part its own.

        The upper part's slot still holds its own arc; `arc` is the lower's.
        """
        entered = self.arc[rows, lower]
        below = within[np.arange(len(rows)), entered[:, 1]]
        self.arc[rows[~below], lower[~below]] = arc[~below]
        self.arc[rows[~below], upper[~below]] = entered[~below]
