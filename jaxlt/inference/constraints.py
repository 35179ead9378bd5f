"""What an answer may be: some labels, one a word, begun already, in tokens of its language alone.

constraint = Constraint(codec, labels=("positive", "negative"), force="")
predictor.decode_tokens(rows, length, **constraint.decoding())
constraint.named(answer)                                 # the label as it was given
language_tokens("corpus/", ["swh_Latn", "tur_Latn"], vocabulary)   # likewise, a language an answer
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import sources
from jaxlt.data.vocabulary.vocabularies import UNK
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.predictor import Codec


def checked(labels: Sequence[str], what: str) -> tuple[str, ...]:
    """Returns labels, each once; none at all, or one without a letter, is a UserError."""
    if not labels:
        raise UserError(f"{what} is empty: it says what an answer may be, one of them at least.")
    for number, label in enumerate(labels, 1):
        if not label.strip():
            raise UserError(
                f"{what}: number {number} is '{label}', and an answer has at least one letter."
            )
    return tuple(dict.fromkeys(labels))


MOST_LINES = 100_000  # of a language's text: what these do not have is rare


@dataclasses.dataclass(frozen=True)
class Constraint:
    """Labels and the beginning of answers, in the tokens of a codec."""

    codec: "Codec"
    labels: tuple[str, ...] = ()
    force: str = ""

    def forced(self) -> tuple[int, ...]:
        """Returns the tokens that an answer begins with."""
        return tuple(int(t) for t in self.codec.encode(self.force)) if self.force else ()

    def decoding(self, words: Sequence[int] | None = None) -> dict[str, Any]:
        """Returns what decoding takes: forced tokens, and a trie of the labels where there are any.

        words: where each word of a row has a label, how many words each row has (1 or more).
        """
        from jaxlt.engine.decode.trie import repeated, trie

        out: dict[str, Any] = {"forced": self.forced()}
        if not self.labels:
            return out
        tokens = self._tokens
        if words is None:
            return out | {"trie": trie([list(tokens.values())])}
        for label in self.labels:
            if label.split() != [label]:
                raise UserError(
                    f"The label '{label}' has a space in it, and answers of a label a word have "
                    "one between words."
                )
        most = 1 << (max(words, default=1) - 1).bit_length()  # so that compilations are shared
        labels = repeated(list(tokens.values()), most, self._between(tokens))
        return out | {"trie": labels, "label_sets": [count - 1 for count in words]}

    def length(self, constrained: dict[str, Any], length: int) -> int:
        """Returns the tokens of an answer at most: `length`, or what labels of words take."""
        if "label_sets" not in constrained:
            return length
        needed = len(constrained["forced"]) + constrained["trie"].depth
        return max(length, 1 << (needed - 1).bit_length())

    def named(self, answer: str) -> str:
        """Returns an answer as its label was given: a vocabulary may spell it otherwise."""
        if not self.labels:
            return answer
        return self._spelled.get(answer, answer)

    @functools.cached_property
    def _spelled(self) -> dict[str, str]:
        """The labels by how the codec spells them."""
        return {self.codec.decode(ids): label for label, ids in self._tokens.items()}

    @functools.cached_property
    def _tokens(self) -> dict[str, np.ndarray]:
        """The tokens of each label; equal ones, or none, are a UserError."""
        out: dict[str, np.ndarray] = {}
        seen: dict[tuple[int, ...], str] = {}
        for label in self.labels:
            ids = out[label] = self.codec.encode(label)
            if not len(ids):
                raise UserError(
                    f"The label '{label}' has no tokens in this vocabulary, so no answer can be it."
                )
            twin = seen.setdefault(tuple(ids.tolist()), label)
            if twin != label:
                raise UserError(
                    f"The labels '{twin}' and '{label}' are the same tokens in this vocabulary: an "
                    "answer could not tell them apart."
                )
        return out

    def _between(self, tokens: dict[str, np.ndarray]) -> np.ndarray:
        """What stands between two words: a space for bytes, nothing where pieces begin words."""
        (label, ids), *_ = tokens.items()
        two = self.codec.encode(f"{label} {label}")
        return two[len(ids) : len(two) - len(ids)]


def language_tokens(
    folder: str, languages: Sequence[str], vocabulary: "Vocabulary"
) -> dict[str, Any]:
    """Returns what decoding takes for answers in `languages`, one an answer.

    folder: text by language (swh_Latn.txt, ...), a text a line, of each of them.
    """
    from jaxlt.engine.decode.trie import among

    names = sorted(set(languages))
    paths = sources.discover((folder,), sources.TEXT, names)
    sets = [_tokens_of(paths[name], vocabulary) for name in names]
    return {"trie": among(sets), "label_sets": [names.index(name) for name in languages]}


def _tokens_of(paths: Sequence[str], vocabulary: "Vocabulary") -> np.ndarray:
    """The ids [n] that the text of some files has."""
    there = np.zeros(vocabulary.size, bool)
    left = MOST_LINES
    for path in paths:
        for _, line in sources.lines(path, Problems("skip")):
            if not left:
                break
            there[vocabulary.encode(line)] = True
            left -= 1
    there[UNK] = False
    return np.flatnonzero(there)
