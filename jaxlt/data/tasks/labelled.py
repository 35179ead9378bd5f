"""Labelled text as seqio tasks, as text to text: words, sentences, pairs, questions.

    config = DataConfig(objective="text_to_text", inputs_length=512)
    register_tagging("pos", ("ud/",), config)               # tasks pos.en_ewt.eng_Latn, ...
    open_mixture(replace(config, mixture="pos.en_ewt.eng_Latn"))

The last part of a task's name is its language. The splits of treebanks and entity files are those
of their files.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from jaxlt.data import text_forms
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers import conllu, iob2, tables
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.readers.questions import Question
from jaxlt.data.sources import corpora
from jaxlt.data.sources.splits import Split
from jaxlt.data.tasks.examples import Stream, TableSource, file_streams, register, warn_unknown
from jaxlt.data.text_forms import Form


def register_tagging(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    names: Sequence[str] = (),
    bad: Bad = "strict",
) -> str:
    """Registers a task of parts of speech for each treebank in CoNLL-U; returns the mixture."""
    return _treebanks(mixture, sources, config, names, bad, text_forms.tagging)


def register_parsing(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    names: Sequence[str] = (),
    bad: Bad = "strict",
) -> str:
    """Registers a task of dependency parsing for each treebank in CoNLL-U; returns the mixture."""
    return _treebanks(mixture, sources, config, names, bad, text_forms.parsing)


def _treebanks(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    names: Sequence[str],
    bad: Bad,
    form: Callable[[conllu.Sentence, str], Form],
) -> str:
    trees, space = form is text_forms.parsing, text_forms.space_of(config.rules)

    def forms(path: str, problems: Problems) -> Iterator[Form]:
        return (form(sentence, space) for sentence in conllu.read(path, problems, trees))

    codes = corpora.Codes()
    found = corpora.find(sources, corpora.CONLLU, "treebank", names, codes)
    warn_unknown(mixture, codes)
    return register(
        mixture, file_streams(found, forms, bad), config, [form.__name__, bad, *inner(space)]
    )


def inner(space: str) -> list[str]:
    """Returns what a space within words adds to the identity of tasks: nothing, for the first."""
    return [] if space == text_forms.NO_BREAK else [f"inner {space}"]


def register_entities(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    names: Sequence[str] = (),
    orphans: iob2.Orphans = "repair",
    bad: Bad = "strict",
) -> str:
    """Registers a task of named entities for each IOB2 corpus; returns the mixture."""

    def forms(path: str, problems: Problems) -> Iterable[Form]:
        return map(text_forms.entities, iob2.read(path, problems, orphans))

    def marked(path: str, problems: Problems) -> Iterable[Form]:
        space = text_forms.space_of(config.rules)
        return (text_forms.entity_tags(s, space) for s in iob2.read(path, problems, orphans))

    codes = corpora.Codes()
    found = corpora.find(sources, corpora.IOB2, "entities", names, codes)
    warn_unknown(mixture, codes)
    streams = file_streams(found, forms, bad, marked)
    spaces = inner(text_forms.space_of(config.rules))
    return register(mixture, streams, config, ["entities", orphans, bad, *spaces])


def register_topics(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task of classes of text for each language of labelled tables."""

    def forms(record: tables.Labelled, name: str) -> Iterator[Form]:
        del name  # all splits are alike
        yield text_forms.topic(record.text, record.label)

    table = TableSource(mixture, sources, "labelled", config, split, bad)
    return _by_language(table, mixture, config, forms, lambda record: record.id or record.text)


def register_pairs(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task of premises and hypotheses for each language; returns the mixture."""

    def forms(record: tables.Inference, name: str) -> Iterator[Form]:
        del name  # all splits are alike
        yield text_forms.inference(record.premise, record.hypothesis, record.label)

    table = TableSource(mixture, sources, "pairs", config, split, bad)
    return _by_language(table, mixture, config, forms, lambda record: record.id or record.premise)


def register_questions(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task of questions about a text for each language; returns the mixture.

    In training a question has its first right answer; elsewhere it is there once for each of them,
    so that a loss is over right answers, and a score can know them all. Heads learn each where the
    table says that it stands.
    """

    def forms(record: Question, name: str) -> Iterator[Form]:
        right = dict.fromkeys(
            text_forms.question(record.question, record.context, answer)
            for answer in record.answers
        )
        yield from list(right)[:1] if name == "train" else right

    def marked(record: Question, name: str) -> Iterator[Form]:
        right: dict[Form, Form] = {}
        for answer, start in zip(record.answers, record.starts, strict=True):
            asked, said = text_forms.question(record.question, record.context, answer)
            placed = text_forms.placed_answer(record.context, answer, start)
            right.setdefault((asked, said), (asked, placed))
        yield from list(right.values())[:1] if name == "train" else right.values()

    table = TableSource(mixture, sources, "questions", config, split, bad)
    more = marked if config.rules.answers_placed else None
    return _by_language(
        table, mixture, config, forms, lambda record: record.id or record.context, more
    )


def _by_language(
    table: TableSource,
    mixture: str,
    config: ReadConfig,
    forms: Callable[[Any, str], Iterable[Form]],
    key: Callable[[Any], str],
    marked: Callable[[Any, str], Iterable[Form]] | None = None,
) -> str:
    """Registers a task a language of a table; `forms` makes of a record what a split has of it.

    marked: what heads see of it, where that is more.
    """
    codes = corpora.Codes()
    written: dict[tuple[str, str], list[str]] = {}
    for own in table.languages(lambda record: record.language):
        # Collections have their own codes: MLQA's `ar` and TyDi's `arabic` are one language.
        alone = "" if own in table.published else own
        written.setdefault((codes.of(own), alone), []).append(own)
    streams = []
    for (code, _), own_codes in written.items():

        def read(
            made: Callable[[Any, str], Iterable[Form]],
            name: str,
            own_codes: list[str] = own_codes,
        ) -> Iterator[Form]:
            for record in table.of(name, key, own_codes):
                if record.language in own_codes:
                    yield from made(record, name)

        more = functools.partial(read, marked) if marked else None
        stream = Stream(code, functools.partial(read, forms), table.paths, marked=more)
        streams.append(stream)
    warn_unknown(mixture, codes)
    kind = "topics" if table.kind == "labelled" else table.kind
    recipe = [kind, table.recipe, table.bad, *(["places"] if marked else [])]
    return register(mixture, streams, config, recipe)
