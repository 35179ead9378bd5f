"""Clean corpora: drop duplicates, near duplicates, test text, and lines that are no text.

    cleaner = Cleaner(CleanConfig(near=0.8), script="Latn")
    cleaner.protect(test_lines, "test")          # what no training line may resemble
    kept = list(cleaner.clean(lines))
    cleaner.report.dropped                       # {"duplicate": 12, "near duplicate": 3, ...}

Equal is what is equal without case, punctuation and spacing. Near is the Jaccard similarity of
character 5-grams, estimated by MinHash (library datasketch). The first of some alike is kept.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from datasketch import MinHash, MinHashLSH

from jaxlt.data.text.ngrams import code_points, hashed
from jaxlt.data.text.scripts import share
from jaxlt.errors import UserError

REASONS = {
    "empty": "nothing but spaces and control characters",
    "too short": "fewer characters than min_chars",
    "too long": "more characters than max_chars",
    "other script": "too few of its letters are of the language's script",
    "in test": "equal to a text of the protected set",
    "holds test": "shares a long passage with a text of the protected set",
    "near test": "nearly a text of the protected set",
    "duplicate": "equal to an earlier text",
    "near duplicate": "nearly an earlier text",
}
_EXAMPLES = 3
_GRAM = 5
_MULTIPLIER = 6364136223846793005  # of Knuth's MMIX generator


@dataclass(frozen=True)
class CleanConfig:
    """What is dropped. 0 turns a filter off.

    `near` is the similarity from which texts count as nearly equal; `passage` the characters that
    a text may not share in one piece with a protected one; `script` the least share of letters in
    the language's script; `permutations` the length of a MinHash.
    """

    duplicates: bool = True
    near: float = 0.0
    passage: int = 50
    min_chars: int = 0
    max_chars: int = 0
    script: float = 0.0
    permutations: int = 64

    def __post_init__(self) -> None:
        for name in ("near", "script"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"`{name}` is a share from 0 to 1, not {getattr(self, name)}.")
        if min(self.passage, self.min_chars, self.max_chars) < 0 or self.permutations < 16:
            raise UserError("Lengths are not negative, and a MinHash has 16 permutations or more.")
        if self.max_chars and self.max_chars < self.min_chars:
            raise UserError(
                f"max_chars={self.max_chars} is less than min_chars={self.min_chars}: no text fits."
            )


@dataclass
class Report:
    """What became of a corpus: counts, and some texts of every reason (text, and what it is like).

    `dropped` and `examples` have the reasons of REASONS that occurred.
    """

    seen: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def drop(self, reason: str, text: str, like: str) -> None:
        """Counts a dropped text; `like` tells what it resembled, or ''."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        some = self.examples.setdefault(reason, [])
        if len(some) < _EXAMPLES:
            some.append((text[:200], like))


def plain(text: str) -> str:
    """Returns what of a text counts when texts are compared: letters and digits, folded."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() or _is_mark(c) else " " for c in folded).split())


def _is_mark(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character)[0] == "M"


class Cleaner:
    """Cleans the texts of one corpus, one after another; remembers 8 bytes a text.

    With `near` it remembers a MinHash (4 bytes a permutation) and its buckets, some kilobytes in
    all, for every text that is kept: clean what is larger than memory in parts.
    """

    def __init__(self, config: CleanConfig | None = None, script: str = ""):
        self.config = config or CleanConfig()
        self.report = Report()
        if self.config.script and not script:
            raise UserError("The script filter needs to know the script of the language.")
        self._script = script
        self._seen: set[int] = set()
        self._protected: dict[int, str] = {}
        self._passages: np.ndarray = np.zeros(0, np.uint64)
        self._near: dict[str, _NearIndex] = {}
        if self.config.near:
            self._near = {
                name: _NearIndex(self.config.near, self.config.permutations)
                for name in ("near test", "near duplicate")
            }

    def protect(self, texts: Iterable[str], name: str) -> None:
        """Remembers texts of a test set, called `name` in the report; none may come through."""
        passages = [self._passages]
        for number, text in enumerate(texts, 1):
            same = plain(text)
            if not same:
                continue
            where = f"{name}, text {number}"
            self._protected.setdefault(_digest(same), where)
            if self.config.passage:
                passages.append(_windows(same, self.config.passage))
            if self._near:
                self._near["near test"].add(_signature(same, self.config.permutations), where)
        self._passages = np.unique(np.concatenate(passages))

    def clean(self, texts: Iterable[str]) -> Iterator[str]:
        """Yields the texts that stay, in their order and unchanged."""
        for text in texts:
            if self.verdict(text) is None:
                yield text

    def verdict(self, text: str) -> str | None:
        """Returns why a text is dropped, or None if it is kept; counts it in the report."""
        self.report.seen += 1
        same = plain(text)
        reason = self._unfit(text) or self._protected_text(same) or self._known(same)
        if reason is None:
            self.report.kept += 1
            return None
        self.report.drop(reason[0], text, reason[1])
        return reason[0]

    def _unfit(self, text: str) -> tuple[str, str] | None:
        config, length = self.config, len(text.strip())
        if not any(c.isprintable() and not c.isspace() for c in text):
            return "empty", ""
        if length < config.min_chars:
            return "too short", f"{length} characters"
        if config.max_chars and length > config.max_chars:
            return "too long", f"{length} characters"
        if config.script and (part := share(text, self._script)) < config.script:
            return "other script", f"{part:.0%} {self._script}"
        return None

    def _protected_text(self, same: str) -> tuple[str, str] | None:
        if not self._protected:
            return None
        where = self._protected.get(_digest(same)) if same else None
        if where:
            return "in test", where
        if len(self._passages):
            windows = _windows(same, self.config.passage)
            at = np.minimum(np.searchsorted(self._passages, windows), len(self._passages) - 1)
            hits = np.flatnonzero(self._passages[at] == windows)
            if len(hits):
                return "holds test", same[hits[0] : hits[0] + self.config.passage]
        if self._near:
            where = self._near["near test"].find(_signature(same, self.config.permutations))
            return ("near test", where) if where else None
        return None

    def _known(self, same: str) -> tuple[str, str] | None:
        if not same:
            return None  # signs alone: kept or dropped by length and script
        digest = _digest(same)
        if self.config.duplicates:
            if digest in self._seen:
                return "duplicate", ""
            self._seen.add(digest)
        if self._near:
            signature = _signature(same, self.config.permutations)
            where = self._near["near duplicate"].find(signature)
            if where:
                return "near duplicate", where
            self._near["near duplicate"].add(signature, f"text {self.report.seen}")
        return None


def _digest(text: str) -> int:
    raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "big")


def _windows(text: str, width: int) -> np.ndarray:
    """Returns a hash of every passage of `width` characters, [n] uint64; none in shorter texts."""
    points = code_points(text).astype(np.uint64)
    count = len(points) - width + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    hashes = np.zeros(count, np.uint64)
    for i in range(width):
        hashes = (hashes ^ points[i : i + count]) * np.uint64(_MULTIPLIER)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _signature(text: str, permutations: int) -> MinHash:
    """Returns the MinHash of a text's character 5-grams (its shorter n-grams if it has none)."""
    orders = min(_GRAM, len(text) + 2)
    grams = hashed([text], orders, smallest=orders).values
    signature = MinHash(num_perm=permutations, hashfunc=int, scheme="affine32")
    signature.update_batch(np.unique(grams[grams > 0]).tolist())
    return signature


class _NearIndex:
    """Texts by MinHash: buckets propose, and the estimated similarity decides."""

    def __init__(self, threshold: float, permutations: int):
        self._threshold = threshold
        buckets = min(max(threshold, 0.1), 0.9)  # of buckets alone; what they find is compared
        self._index = MinHashLSH(threshold=buckets, num_perm=permutations, weights=(0.2, 0.8))
        self._values: list[np.ndarray] = []
        self._names: list[str] = []

    def add(self, signature: MinHash, name: str) -> None:
        self._index.insert(len(self._names), signature, check_duplication=False)
        self._values.append(signature.hashvalues.astype(np.uint32))
        self._names.append(name)

    def find(self, signature: MinHash) -> str:
        """Returns the name and similarity of the earliest text as near as that, or ''."""
        for key in sorted(self._index.query(signature)):
            equal = float(np.mean(self._values[key] == signature.hashvalues.astype(np.uint32)))
            if equal >= self._threshold:
                return f"{self._names[key]}, similarity {equal:.2f}"
        return ""
