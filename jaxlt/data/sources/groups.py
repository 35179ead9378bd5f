"""Groups of texts that translate each other: what a split parts, so that none of it leaks.

    groups = Groups([(b"en\\0Hello", b"sw\\0Habari"), (b"fr\\0Bonjour", b"sw\\0Habari")])
    groups.under(Split(0.05), b"en\\0").of(b"Hello")   # the split of all three

Two texts are in one group where a chain of translations leads from one to the other, over all
directions and files. What a sentence is translated into is then on its side, in any language.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jaxlt.data.sources.splits import Parting, Split


class Groups:
    """The connected parts of pairs of texts; a text is bytes that say its language, too."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]):
        from scipy import sparse  # a third of a second, and only a split of bitext needs it

        # As they come: a list of Python's numbers is several times as large.
        words = np.fromiter((_word(text) for pair in pairs for text in pair), np.uint64)
        self._texts, ends = np.unique(words, return_inverse=True)
        count = len(self._texts)
        joins = ends.reshape(-1, 2)
        graph = sparse.coo_array(
            (np.ones(len(joins), bool), (joins[:, 0], joins[:, 1])), shape=(count, count)
        )
        _, group = sparse.csgraph.connected_components(graph, directed=False)
        names = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(names, group, self._texts)  # a group is named by the least of its texts
        self._names = names[group]
        pairs_of = np.bincount(group[joins[:, 0]], minlength=count)
        self._shares = pairs_of[group] / max(len(joins), 1)

    def under(self, split: Split, mark: bytes) -> Parting:
        """Returns what parts the texts that begin with `mark`, whole groups at a time."""
        return _Parting(self, split, mark)

    def of(self, split: Split, text: bytes) -> str:
        """Returns the split of a text of some pair.

        A group that is larger than all that is held out trains: a dictionary may hang together.
        """
        place = int(np.searchsorted(self._texts, np.uint64(_word(text))))
        if self._shares[place] > split.validation + split.test:
            return "train"
        return split.of(int(self._names[place]).to_bytes(8, "big"))


@dataclass(frozen=True)
class _Parting:
    groups: Groups
    split: Split
    mark: bytes

    def of(self, document: bytes) -> str:
        return self.groups.of(self.split, self.mark + document)


def _word(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
