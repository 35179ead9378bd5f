"""Answers that need no model: what a score has to be above before it means anything.

    words = ByWord()
    words.add(("the", "dog"), ("DET", "NOUN"))
    words.label("dog"), words.label("frog")      # by the word, by the longest ending it shares, ...

Each learns from training examples by `add`, one at a time, and then answers. What a name seen in
training, the commonest label or the neighbouring word attains is shown beside a model's score.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

ENDING = 5  # letters of the longest ending that tells an unknown word's label


class Commonest:
    """The answer that training gave most often; of equal ones the first by the alphabet."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, answers: Iterable[str]) -> None:
        """Counts the answers of an example."""
        self._counts.update(answers)

    @property
    def answer(self) -> str:
        """The commonest of all, "" where there was none."""
        return _first(self._counts)


class ByWord:
    """The commonest label of each word; of an unknown word that of its longest known ending.

    Endings are those of the words seen, each word counting once, with the label that it has itself.
    A word without a known ending has the commonest label of all.
    """

    def __init__(self) -> None:
        self._words: dict[str, Counter[str]] = defaultdict(Counter)
        self._all = Commonest()
        self._best: dict[str, str] = {}
        self._endings: dict[str, str] = {}

    def add(self, words: Sequence[str], labels: Sequence[str]) -> None:
        """Takes a sentence of n words and their n labels."""
        for word, label in zip(words, labels, strict=True):
            self._words[word][label] += 1
        self._all.add(labels)
        self._best = {}

    def label(self, word: str) -> str:
        """Returns the label of a word."""
        if not self._best:
            self._learn()
        if word in self._best:
            return self._best[word]
        for length in range(min(ENDING, len(word)), 0, -1):
            if word[-length:] in self._endings:
                return self._endings[word[-length:]]
        return self._all.answer

    def _learn(self) -> None:
        self._best = {word: _first(counts) for word, counts in self._words.items()}
        endings: dict[str, Counter[str]] = defaultdict(Counter)
        for word, label in self._best.items():
            for length in range(1, min(ENDING, len(word)) + 1):
                endings[word[-length:]][label] += 1
        self._endings = {ending: _first(counts) for ending, counts in endings.items()}


class Neighbour:
    """A tree whose words hang on the word before them, or after, as training has it more often.

    A relation is the one of the word (ByWord), and that of the first, or last, word is root.
    """

    def __init__(self) -> None:
        self._before = 0
        self._relations = ByWord()

    def add(self, words: Sequence[str], heads: Sequence[int], relations: Sequence[str]) -> None:
        """Takes a tree of n words: heads count from 1, and 0 is the root."""
        for place, head in enumerate(heads, start=1):
            self._before += (head == place - 1 > 0) - (head == place + 1)
        inner = [i for i, head in enumerate(heads) if head]
        self._relations.add([words[i] for i in inner], [relations[i] for i in inner])

    def tree(self, words: Sequence[str]) -> tuple[list[int], list[str]]:
        """Returns (heads [n], relations [n])."""
        if self._before > 0:
            heads = list(range(len(words)))
        else:
            heads = [*range(2, len(words) + 1), 0][: len(words)]
        labels = (self._relations.label(word) or "dep" for word in words)
        return heads, [label if head else "root" for head, label in zip(heads, labels, strict=True)]


class Names:
    """The names that training has, found again: the longest, from the left on, as it mostly is."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        self._longest: dict[str, int] = {}  # by the first word

    def add(self, name: Sequence[str], kind: str) -> None:
        """Takes a name, word by word, and its type."""
        self._types[tuple(name)][kind] += 1
        self._longest[name[0]] = max(len(name), self._longest.get(name[0], 0))

    def spans(self, words: Sequence[str]) -> list[tuple[int, int, str]]:
        """Returns the (first word, word after the last, type) of the names in a text, in order."""
        found, place = [], 0
        while place < len(words):
            for length in range(self._longest.get(words[place], 0), 0, -1):
                kinds = self._types.get(tuple(words[place : place + length]))
                if kinds and place + length <= len(words):
                    found.append((place, place + length, _first(kinds)))
                    place += length
                    break
            else:
                place += 1
        return found


class FirstWords:
    """The first words of a text, as many as an answer in training has: the median of them."""

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()

    def add(self, answer: str) -> None:
        """Takes an answer of training."""
        self._lengths[len(answer.split())] += 1

    def answer(self, text: str) -> str:
        """Returns the words that a text begins with."""
        half, seen = self._lengths.total() / 2, 0
        for length in sorted(self._lengths):
            seen += self._lengths[length]
            if seen >= half:
                return " ".join(text.split()[: max(length, 1)])
        return " ".join(text.split()[:1])


def _first(counts: Counter[str]) -> str:
    return min(counts, key=lambda one: (-counts[one], one), default="")
