"""Made languages as text: the factory's front door for whoever needs only sentences.

    spec = LanguageSpec("asha_Latn", family=1)
    list(generate(spec, sentences=8, seed=0))      # two texts of four sentences, a line each
    write_languages("corpus/", FAMILY, sentences=20_000, seed=0)

Languages of a family descend from one ancestor: a share of their words is the ancestor's, changed
by each language's own regular sound changes; the rest is new. So relatives share structure and
some words, and what a model learns of some helps it with another.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jaxlt.data.rows.batches import number_of
from jaxlt.data.sources.files import write_chunks
from jaxlt.data.synth.facts import fact_of_text
from jaxlt.data.synth.grammar import SENTENCES_A_TEXT, Teller, fact_sentence
from jaxlt.data.synth.realise import Said, speaker, voice
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.world import Fact, world

# Three languages to learn from, and a relative of theirs to meet later.
FAMILY = (
    LanguageSpec("asha_Latn", 1),
    LanguageSpec("bevo_Latn", 1, order="SOV", adposition="after", genitive="before"),
    LanguageSpec("chiri_Latn", 1, adjective="after", synthesis=0.8),
)
UNSEEN = LanguageSpec(
    "doru_Latn", 1, cognates=0.8, order="SOV", adposition="after", adjective="after"
)


def texts(
    spec: LanguageSpec,
    sentences: int,
    seed: int = 0,
    facts: Sequence[Fact] = (),
    fact_texts: float = 0.5,
) -> Iterator[list[Said]]:
    """Yields texts of four sentences, annotated; equal seeds say the same in every language.

    With `facts`, a share `fact_texts` of texts begins with one of them, in turn.
    """
    teller, speaks = Teller(world(spec.seed)), speaker(spec)
    for number, first in enumerate(range(0, sentences, SENTENCES_A_TEXT)):
        count = min(SENTENCES_A_TEXT, sentences - first)
        draws = voice(spec, seed, number)
        meant = teller.text(seed, number, count)
        if fact := fact_of_text(facts, number, fact_texts):
            meant[0] = fact_sentence(fact)
        yield [speaks.say(sentence, draws) for sentence in meant]


def generate(spec: LanguageSpec, sentences: int, seed: int = 0) -> Iterator[str]:
    """Yields the texts, without facts, as lines."""
    return lines(texts(spec, sentences, seed))


def lines(texts: Iterable[list[Said]]) -> Iterator[str]:
    """Yields texts as lines."""
    return (" ".join(one.text for one in text) for text in texts)


def own_seed(spec: LanguageSpec, seed: int) -> int:
    """Returns the seed of what this language alone talks about."""
    return seed ^ number_of(spec.code)


def write_languages(
    folder: str | Path, specs: Sequence[LanguageSpec], sentences: int, seed: int = 0
) -> tuple[Path, ...]:
    """Writes `<folder>/<code>.txt` for each language; returns the paths.

    Each has texts of its own, so that nothing but the language itself is shared between them.
    """
    paths = tuple(Path(folder) / f"{spec.code}.txt" for spec in specs)
    for spec, path in zip(specs, paths, strict=True):
        write_lines(path, generate(spec, sentences, own_seed(spec, seed)))
    return paths


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Writes lines as they come, whole or not at all; returns the number of words in them."""
    words = 0

    def chunks() -> Iterator[bytes]:
        nonlocal words
        for line in lines:
            words += line.count(" ") + 1
            yield f"{line}\n".encode()

    write_chunks(str(path), chunks())
    return words
