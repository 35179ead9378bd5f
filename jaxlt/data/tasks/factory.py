"""Made kinds of task: the same kinds over the languages of a factory, without files.

What is said in one text, asked of one fact, or meant by one word of a dictionary is on one side of
the split in all languages.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from jaxlt.data.near import nearest_language
from jaxlt.data.readers.tables import Labelled
from jaxlt.data.synth import asked, facts, write
from jaxlt.data.synth.families import FactoryConfig, identity_of, languages, size_of
from jaxlt.data.synth.grammar import SENTENCES_A_TEXT
from jaxlt.data.synth.languages import lines, own_seed, texts
from jaxlt.data.synth.realise import Said, speaker
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.trees import tagged, tree
from jaxlt.data.synth.world import world
from jaxlt.data.tasks.entities import Entities
from jaxlt.data.tasks.facts import Facts
from jaxlt.data.tasks.kind import Kind, Reading, Stream, Wording
from jaxlt.data.tasks.pairs import Pairs
from jaxlt.data.tasks.parsing import Parsing
from jaxlt.data.tasks.questions import Questions
from jaxlt.data.tasks.tagging import Words as TaggedWords
from jaxlt.data.tasks.texts import Texts
from jaxlt.data.tasks.topics import Topics
from jaxlt.data.tasks.translation import Directed
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError

_SENTENCE = 32  # bytes
Keyed = Iterable[tuple[str, Any]]  # (what decides the split, record)


class Made(Kind):
    """A kind whose records come from a factory."""

    made = True
    takes: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        """Yields the records of a language, each with what decides its split."""
        return ()

    def sources(
        self, specs: tuple[LanguageSpec, ...], reading: Reading
    ) -> dict[str, Callable[[], Keyed]]:
        """Returns the keyed records of each stream by its name: one a language."""
        factory = factory_of(reading)
        return {spec.code: functools.partial(self.records, spec, factory) for spec in specs}

    def streams(self, reading: Reading) -> list[Stream]:
        factory = factory_of(reading)
        drawn = reading.config.shares.split(_SENTENCE * factory.sentences)
        recipe = [self.name, identity_of(factory), dataclasses.astuple(drawn), reading.config.tag]
        if self.shape == "span" and reading.config.rules.answers_placed:
            recipe.append("places")

        def stream(name: str, source: Callable[[], Keyed]) -> Stream:
            def records(split: str) -> Iterator[Any]:
                return (one for key, one in source() if drawn.of(key.encode()) == split)

            def identity() -> list[Any]:
                return [[], name, recipe]

            return self.stream(reading, name, records, identity, reading.config.splits)

        return [stream(*one) for one in self.sources(languages(factory), reading).items()]


def factory_of(reading: Reading) -> FactoryConfig:
    """Returns the factory, which TaskConfig demands of a made kind."""
    assert reading.task.factory is not None
    return reading.task.factory


class MadeTexts(Texts):
    """Running text of a factory, which tells its facts too."""

    made = True

    def streams(self, reading: Reading) -> list[Stream]:
        factory = factory_of(reading)
        specs, known = languages(factory), world(factory.seed).facts
        codes = [spec.code for spec in specs]
        shares = factory.facts_in_one, factory.facts_in_all, factory.seed
        holders = facts.assign(known, codes, *shares)
        drawn = reading.config.shares.split(_SENTENCE * factory.sentences)

        def stream(spec: LanguageSpec) -> Stream:
            def documents(split: str) -> Iterator[bytes]:
                own, seed = facts.told(known, holders, spec), own_seed(spec, factory.seed)
                count = size_of(factory, spec, "sentences")
                for line in lines(texts(spec, count, seed, own, factory.fact_texts)):
                    if drawn.of(line.encode()) == split:
                        yield line.encode()

            def identity() -> list[Any]:
                return [identity_of(factory), dataclasses.astuple(drawn), spec.code]

            return Stream(spec.code, documents, identity, reading.config.splits)

        return [stream(spec) for spec in specs]


def _annotated(spec: LanguageSpec, factory: FactoryConfig) -> Iterator[tuple[str, Said]]:
    for identity, spoken in write.annotated(spec, factory):
        yield identity.split("-")[1], spoken  # the text's number


class _Trees(Made):
    """Kinds of sentences with tags and trees."""

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        return ((key, tree(spoken)) for key, spoken in _annotated(spec, factory))


class MadeTagging(_Trees, TaggedWords):
    """Parts of speech of a factory's sentences."""


class MadeParsing(_Trees, Parsing):
    """Trees of a factory's sentences."""


class MadeEntities(Made, Entities):
    """Entities of a factory's sentences."""

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        return ((key, tagged(spoken)) for key, spoken in _annotated(spec, factory))


class MadeTopics(Made, Topics):
    """Opinions of a factory, with what they are of."""

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        for number, category, text in write.judged(spec, factory):
            yield str(number), Labelled(spec.code, str(number), category, text)


class MadeFacts(Made, Facts):
    """Facts of a factory's world, with [Y] for what is asked."""

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        for fact in world(factory.seed).facts:
            one = facts.question(speaker(spec), fact)
            yield str(fact.number), (one.pattern.replace("[X]", one.subject), one.answer)


class MadePairs(Made, Pairs):
    """What a factory's texts say, and what does not follow."""

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        return ((one.id, one) for one in asked.pairs(spec, factory))


class MadeQuestions(Made, Questions):
    """Questions about a factory's texts."""

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        return ((one.id, one) for one in asked.questions(spec, factory))


class MadeLanguages(Made, TaggedWords):
    """Words of mixed speech, and the language of each: 'other' where it has no letter."""

    prefix = "languages"

    def sources(
        self, specs: tuple[LanguageSpec, ...], reading: Reading
    ) -> dict[str, Callable[[], Keyed]]:
        """Returns those of the languages that mix their speech."""
        mixing = tuple(spec for spec in specs if spec.mixed)
        if not mixing:
            raise UserError(
                "No language of the factory mixes its speech: set Family.mixed, the share of roots "
                "that are another language's."
            )
        return super().sources(mixing, reading)

    @staticmethod
    def records(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
        """Yields (words, the code of each)."""
        for key, spoken in _annotated(spec, factory):
            codes = [word.language or spec.code for word in spoken.words]
            yield key, ([word.form for word in spoken.words], codes)

    def form(self, record: tuple[Sequence[str], Sequence[str]], wording: Wording) -> Form:
        tags = (
            code if any(map(str.isalpha, word)) else "other"
            for word, code in zip(*record, strict=True)
        )
        return self.inputs(record[0], wording), " ".join(tags)


class MadeDirected(Made, Directed):
    """Kinds of a factory whose answer is the text in another language."""

    takes: ClassVar[tuple[str, ...]] = ("pivot", "pairs")

    def sources(
        self, specs: tuple[LanguageSpec, ...], reading: Reading
    ) -> dict[str, Callable[[], Keyed]]:
        """Returns the records of the directions that are meant; others are a UserError."""
        task, codes = reading.task, [spec.code for spec in specs]
        named = [code for pair in task.pairs for code in pair.split(":")]
        for code in (*named, *([task.pivot] if task.pivot else [])):
            if code not in codes:
                raise UserError(
                    f"The factory makes no language '{code}'.{nearest_language(code, codes)}"
                )
        every = itertools.permutations(codes, 2)
        wanted = task.pairs or [f"{a}:{b}" for a, b in every if task.pivot in (None, a, b)]
        by_code, factory = {spec.code: spec for spec in specs}, factory_of(reading)

        def records(pair: str) -> Callable[[], Keyed]:
            source, target = (by_code[code] for code in pair.split(":"))
            return functools.partial(self.translated, source, target, factory)

        return {pair: records(pair) for pair in wanted}

    def translated(
        self, source: LanguageSpec, target: LanguageSpec, factory: FactoryConfig
    ) -> Keyed:
        """Yields the records of a direction, each with what decides its split."""
        return ()


class MadeTranslation(MadeDirected):
    """Sentences of a factory in all of its languages."""

    metrics, by_language = ("chrf++", "bleu", "length_ratio"), True
    sentences = True

    def translated(
        self, source: LanguageSpec, target: LanguageSpec, factory: FactoryConfig
    ) -> Keyed:
        codes, *rows = _parallel(factory)
        a, b = codes.index(source.code), codes.index(target.code)
        for number, row in enumerate(rows):
            yield str(number // SENTENCES_A_TEXT), (row[a], row[b], target.code)


@functools.lru_cache(maxsize=1)
def _parallel(factory: FactoryConfig) -> list[list[str]]:
    """Returns the rows of the factory's parallel text, its languages' codes first."""
    return [line.split("\t") for line in write.parallel(factory, languages(factory))]


class MadeWords(MadeDirected):
    """Words of a factory's languages that mean the same."""

    def translated(
        self, source: LanguageSpec, target: LanguageSpec, factory: FactoryConfig
    ) -> Keyed:
        for word, other, meaning in write.dictionary(source, target):
            yield meaning, (word, other, target.code)
