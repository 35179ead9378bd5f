"""Keeps of a corpus the lines that are in the language of their file, as an identifier tells.

for language, kept, others in keep_own("lid/", by_language(["crawl/"]), "filtered", 0.7):
    ...                            # kept: lines; others: {"eng_Latn": 12, "unsure": 3}
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from jaxlt.data.sources import files
from jaxlt.data.sources.items import Texts
from jaxlt.data.text.lid import LidModel, load
from jaxlt.errors import UserError

_BATCH = 4096  # lines identified together


def keep_own(
    folder: str, corpus: Mapping[str, Texts], to: str, at_least: float = 0.5
) -> Iterator[tuple[str, int, Counter[str]]]:
    """Writes `to`/LANGUAGE.txt; yields (language, lines kept, the others by what they seem to be).

    folder: of the identifier. A line is kept if its own language has the probability `at_least`,
    whatever the others have.
    """
    if not 0 <= at_least <= 1:
        raise UserError(f"--at_least is a probability from 0 to 1, not {at_least}.")
    model = load(folder)
    unknown = [name for name in corpus if name not in model.languages]
    if unknown:
        raise UserError(
            f"The model in '{folder}' has never learnt '{unknown[0]}': train one with all "
            "languages of the corpus, and with those that may have strayed into it."
        )
    files.check_apart(to, (path for found in corpus.values() for path in found.paths))
    for name, found in corpus.items():
        counts: Counter[str] = Counter()
        kept = _kept(model, name, found, at_least, counts)
        files.write_chunks(f"{to.rstrip('/')}/{name}.txt", kept)
        yield name, counts.pop(name, 0), counts


def batched(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines in lists, as they are identified together."""
    rest = iter(lines)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


def _kept(
    model: LidModel, language: str, texts: Texts, least: float, counts: Counter[str]
) -> Iterator[bytes]:
    """Yields the lines of the language, and counts all by what they are."""
    column = model.languages.index(language)
    for batch in batched(texts.lines()):
        shares = model.probabilities(batch)
        for line, row in zip(batch, shares, strict=True):
            best = model.languages[int(row.argmax())]
            fits = row[column] >= least
            counts[language if fits else "unsure" if best == language else best] += 1
            if fits:
                yield f"{line}\n".encode()
