"""The languages of a factory as seqio tasks, without files: text, and what is known of it.

What is said in one text, asked of one fact, or meant by one word of a dictionary is on one side of
the split in all languages.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import seqio

from jaxlt.data import text_forms
from jaxlt.data.near import nearest_language
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers.conllu import Sentence
from jaxlt.data.readers.iob2 import Tagged
from jaxlt.data.seqio_tasks.text import register_documents_task
from jaxlt.data.sources.splits import Split
from jaxlt.data.synth import asked as reading
from jaxlt.data.synth import facts as known
from jaxlt.data.synth import write
from jaxlt.data.synth.families import FactoryConfig, identity_of, languages
from jaxlt.data.synth.grammar import SENTENCES_A_TEXT
from jaxlt.data.synth.languages import generate, own_seed
from jaxlt.data.synth.realise import Said, speaker
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.trees import entity_tags, heads
from jaxlt.data.synth.world import world
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.examples import Stream, register
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError

_SENTENCE = 32  # bytes
Keyed = Iterable[tuple[str, Form]]  # (what decides the split, example)


def register_factory(
    mixture: str, kind: str, factory: FactoryConfig, config: ReadConfig, task: TaskConfig
) -> str:
    """Registers a task of a kind for each language of a factory; returns the mixture."""
    specs = languages(factory)
    drawn = _drawn(factory, config)
    if kind == "synthetic_text":
        return _texts(mixture, factory, specs, config)
    if kind == "synthetic_parallel":
        found = _parallel(factory, specs, config.tag, _directions(specs, task))
    elif kind == "synthetic_dictionary":
        found = _dictionary(specs, config.tag, _directions(specs, task))
    else:
        if kind == "synthetic_mixed":
            specs = _mixing(specs)
        found = {spec.code: functools.partial(_KINDS[kind], spec, factory) for spec in specs}

    def stream(name: str, examples: Callable[[], Keyed]) -> Stream:
        def of(split: str) -> Iterator[Form]:
            return (form for key, form in examples() if drawn.of(key.encode()) == split)

        return Stream(name, of, (), config.splits, marked.get(name))

    def tags(spec: LanguageSpec, split: str) -> Iterator[Form]:
        for key, tagged in _tagged(spec, factory):
            if drawn.of(key.encode()) == split:
                yield text_forms.entity_tags(tagged)

    def places(spec: LanguageSpec, split: str) -> Iterator[Form]:
        for one in reading.questions(spec, factory):
            if drawn.of(one.id.encode()) == split:
                asked = text_forms.question(one.question, one.context, one.answers[0])[0]
                yield (
                    asked,
                    text_forms.placed_answer(one.context, one.answers[0], one.starts[0]),
                )

    marked: dict[str, Callable[[str], Iterable[Form]]] = {}
    recipe = [kind, identity_of(factory), dataclasses.astuple(drawn), config.tag]
    if kind == "synthetic_entities":
        marked = {spec.code: functools.partial(tags, spec) for spec in specs}
    if kind == "synthetic_questions" and config.rules.answers_placed:
        marked = {spec.code: functools.partial(places, spec) for spec in specs}
        recipe.append("places")
    streams = [stream(name, examples) for name, examples in found.items()]
    return register(mixture, streams, config, recipe)


def _drawn(factory: FactoryConfig, config: ReadConfig) -> Split:
    """Returns what is held out of made data, by about how much text of a language there is."""
    return config.shares.split(_SENTENCE * factory.sentences)


def _texts(
    mixture: str, factory: FactoryConfig, specs: tuple[LanguageSpec, ...], config: ReadConfig
) -> str:
    told = world(factory.seed).facts
    codes = [spec.code for spec in specs]
    holders = known.assign(told, codes, factory.facts_in_one, factory.facts_in_all, factory.seed)
    drawn = _drawn(factory, config)
    recipe = [identity_of(factory), dataclasses.astuple(drawn)]
    for spec in specs:

        def documents(split: str, spec: LanguageSpec = spec) -> Iterator[bytes]:
            own, seed = known.told(told, holders, spec), own_seed(spec, factory.seed)
            for line in generate(spec, factory.sentences, seed, own, factory.fact_texts):
                if drawn.of(line.encode()) == split:
                    yield line.encode()

        identity: Callable[[], list[Any]] = functools.partial(list, [*recipe, spec.code])
        register_documents_task(f"{mixture}.{spec.code}", documents, config, identity)
    if mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(mixture)
    names = [f"{mixture}.{code}" for code in codes]
    seqio.MixtureRegistry.add(mixture, names, default_rate=1.0)
    return mixture


def _sentence(said: Said) -> Sentence:
    words = said.words
    empty = ("_",) * len(words)
    return Sentence(
        forms=tuple(w.form for w in words),
        lemmas=tuple(w.lemma for w in words),
        upos=tuple(w.upos for w in words),
        xpos=empty,
        feats=empty,
        heads=tuple(heads(words)),
        deprels=tuple(w.deprel for w in words),
        deps=empty,
        misc=empty,
    )


def _annotated(spec: LanguageSpec, factory: FactoryConfig) -> Iterator[tuple[str, Said]]:
    for identity, said in write.annotated(spec, factory):
        yield identity.split("-")[1], said  # the text's number


def _tagging(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    return ((k, text_forms.tagging(_sentence(s))) for k, s in _annotated(spec, factory))


def _parsing(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    return ((k, text_forms.parsing(_sentence(s))) for k, s in _annotated(spec, factory))


def _tagged(spec: LanguageSpec, factory: FactoryConfig) -> Iterator[tuple[str, Tagged]]:
    for key, said in _annotated(spec, factory):
        yield key, Tagged(tuple(w.form for w in said.words), tuple(entity_tags(said.words)))


def _entities(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    return ((key, text_forms.entities(tagged)) for key, tagged in _tagged(spec, factory))


def _sentiment(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    for number, category, text in write.judged(spec, factory):
        yield str(number), text_forms.topic(text, category)


def _mixing(specs: tuple[LanguageSpec, ...]) -> tuple[LanguageSpec, ...]:
    found = tuple(spec for spec in specs if spec.mixed)
    if not found:
        raise UserError(
            "No language of the factory mixes its speech: set Family.mixed, the share of roots "
            "that are another language's."
        )
    return found


def _mixed(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    for key, said in _annotated(spec, factory):
        codes = [word.language or spec.code for word in said.words]
        yield key, text_forms.languages([word.form for word in said.words], codes)


def _facts(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    for fact in world(factory.seed).facts:
        asked = known.question(speaker(spec), fact)
        yield (
            str(fact.number),
            text_forms.fact(asked.pattern.replace("[X]", asked.subject), asked.answer),
        )


def _pairs(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    for one in reading.pairs(spec, factory):
        yield one.id, text_forms.inference(one.premise, one.hypothesis, one.label)


def _questions(spec: LanguageSpec, factory: FactoryConfig) -> Keyed:
    for one in reading.questions(spec, factory):
        yield one.id, text_forms.question(one.question, one.context, one.answers[0])


_KINDS: dict[str, Callable[[LanguageSpec, FactoryConfig], Keyed]] = {
    "synthetic_tagging": _tagging,
    "synthetic_parsing": _parsing,
    "synthetic_entities": _entities,
    "synthetic_sentiment": _sentiment,
    "synthetic_facts": _facts,
    "synthetic_mixed": _mixed,
    "synthetic_pairs": _pairs,
    "synthetic_questions": _questions,
}


def _directions(specs: tuple[LanguageSpec, ...], task: TaskConfig) -> list[str]:
    """Returns the source:target that a task means, or raises UserError for unknown languages."""
    codes = [spec.code for spec in specs]
    named = [code for pair in task.pairs for code in pair.split(":")]
    for code in (*named, *([task.pivot] if task.pivot else [])):
        if code not in codes:
            raise UserError(
                f"The factory makes no language '{code}'.{nearest_language(code, codes)}"
            )
    every = itertools.permutations(codes, 2)
    return list(task.pairs) or [f"{a}:{b}" for a, b in every if task.pivot in (None, a, b)]


def _parallel(
    factory: FactoryConfig, specs: tuple[LanguageSpec, ...], tag: str, wanted: list[str]
) -> dict[str, Callable[[], Keyed]]:
    codes = [spec.code for spec in specs]

    @functools.cache
    def rows() -> list[list[str]]:
        return [line.split("\t") for line in write.parallel(factory, specs)][1:]

    def examples(source: str, target: str) -> Keyed:
        a, b = codes.index(source), codes.index(target)
        for number, row in enumerate(rows()):
            yield (
                str(number // SENTENCES_A_TEXT),
                text_forms.translation(row[a], row[b], target, tag),
            )

    return {pair: functools.partial(examples, *pair.split(":")) for pair in wanted}


def _dictionary(
    specs: tuple[LanguageSpec, ...], tag: str, wanted: list[str]
) -> dict[str, Callable[[], Keyed]]:
    by_code = {spec.code: spec for spec in specs}

    def examples(source: str, target: str) -> Keyed:
        for word, other, meaning in write.dictionary(by_code[source], by_code[target]):
            yield meaning, text_forms.translation(word, other, target, tag)

    return {pair: functools.partial(examples, *pair.split(":")) for pair in wanted}
