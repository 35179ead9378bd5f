"""What a run learned to name from its training data: labels of its heads, words, characters.

    inventory = take(examples, heads={"tagging": 32}, words=20_000, chars=500)
    inventory.labels["tagging"]          # ('NOUN', 'PUNCT', ...): the commonest first
    inventory.write("runs/pos/inventory.json")

A run has its own in its folder from the first start on, so that numbers keep their meaning.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jaxlt.data.head_example import HeadExample
from jaxlt.data.rows.batches import digest
from jaxlt.data.sources.files import write_atomically
from jaxlt.errors import UserError

NAME = "inventory.json"
UNKNOWN = 1  # number of a word or character that is not in the inventory; 0 is none at all


@dataclass(frozen=True)
class Inventory:
    """Names by number: `labels` by head; words and characters are numbered from 2 on."""

    labels: Mapping[str, tuple[str, ...]] = field(hash=False)
    words: tuple[str, ...] = ()
    chars: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A digest of all names."""
        return digest([{n: list(v) for n, v in self.labels.items()}, self.words, self.chars])

    def write(self, path: str | Path) -> None:
        """Writes it as JSON."""
        write_atomically(Path(path), json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")


NOTHING = Inventory({})


def read(path: str | Path) -> Inventory:
    """Reads what `write` wrote; a damaged file is a UserError."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        labels = {str(head): _texts(names) for head, names in record["labels"].items()}
        return Inventory(labels, _texts(record["words"]), _texts(record["chars"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"'{path}' should hold the names of the run's labels and cannot be read ({error}): "
            "restore it, or start the run anew in another WORKDIR."
        ) from None


def _texts(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"expected a list of texts, not {str(given)[:40]}")
    return tuple(given)


def take(
    examples: Iterable[tuple[str, HeadExample]],
    rooms: Mapping[str, int],
    words: int = 0,
    chars: int = 0,
) -> Inventory:
    """Collects names from training examples, each with its head's name; the commonest come first.

    rooms: how many labels each head has room for; more of them is a UserError. words, chars: rows
    of a BiLSTM's tables. Words that occur once are left out, so that unknown ones are learnt.
    """
    labels: dict[str, Counter[str]] = {head: Counter() for head in rooms}
    seen_words: Counter[str] = Counter()
    seen_chars: Counter[str] = Counter()
    for head, example in examples:
        if example.shape in ("class", "pair"):
            labels[head].update([example.label] if example.label else [])
        elif example.shape != "span":
            labels[head].update(example.labels)
        if words or chars:
            for word in words_of(example):
                seen_words[word] += 1
                seen_chars.update(word)
    for head, counted in labels.items():
        if len(counted) > rooms[head] and rooms[head]:
            raise UserError(
                f"The training data of head '{head}' has {len(counted)} labels, and the head room "
                f"for {rooms[head]}: raise its `labels` to {len(counted)} or more."
            )
    often = Counter({word: n for word, n in seen_words.items() if n > 1})
    return Inventory(
        {head: _ranked(counted, len(counted)) for head, counted in labels.items()},
        _ranked(often, words - 2),
        _ranked(seen_chars, chars - 2),
    )


def words_of(example: HeadExample) -> tuple[str, ...]:
    """Returns the words of an example; of running text, what spaces separate."""
    return example.words or tuple(word for text in example.texts for word in text.split())


def _ranked(counts: Counter[str], most: int) -> tuple[str, ...]:
    """The most common names, of equally common ones the first by the alphabet."""
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return tuple(ranked[: max(most, 0)])
