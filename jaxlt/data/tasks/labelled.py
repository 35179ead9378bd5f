"""Labelled text as seqio tasks, as text to text: words, sentences, pairs, questions.

    config = DataConfig(objective="text_to_text", inputs_length=512)
    register_tagging("pos", ("ud/",), config)               # tasks pos.en_ewt.eng_Latn, ...
    open_mixture(replace(config, mixture="pos.en_ewt.eng_Latn"))

The last part of a task's name is its language. The splits of treebanks and entity files are those
of their files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jaxlt.data import corpora, text_forms
from jaxlt.data.readers import conllu, iob2, tables
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.readers.questions import Question
from jaxlt.data.splits import Split
from jaxlt.data.tasks.examples import Stream, TableSource, file_streams, register, warn_unknown
from jaxlt.data.text_forms import Form

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig


def register_tagging(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    names: Sequence[str] = (),
    bad: Bad = "strict",
) -> str:
    """Registers a task of parts of speech for each treebank in CoNLL-U; returns the mixture."""
    return _treebanks(mixture, sources, config, names, bad, text_forms.tagging)


def register_parsing(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    names: Sequence[str] = (),
    bad: Bad = "strict",
) -> str:
    """Registers a task of dependency parsing for each treebank in CoNLL-U; returns the mixture."""
    return _treebanks(mixture, sources, config, names, bad, text_forms.parsing)


def _treebanks(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    names: Sequence[str],
    bad: Bad,
    form: Callable[[conllu.Sentence], Form],
) -> str:
    trees = form is text_forms.parsing

    def forms(path: str, problems: Problems) -> Iterator[Form]:
        return map(form, conllu.read(path, problems, trees))

    codes = corpora.Codes()
    found = corpora.find(sources, corpora.CONLLU, "treebank", names, codes)
    warn_unknown(mixture, codes)
    return register(mixture, file_streams(found, forms, bad), config, [form.__name__, bad])


def register_entities(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    names: Sequence[str] = (),
    orphans: iob2.Orphans = "repair",
    bad: Bad = "strict",
) -> str:
    """Registers a task of named entities for each IOB2 corpus; returns the mixture."""

    def forms(path: str, problems: Problems) -> Iterable[Form]:
        return map(text_forms.entities, iob2.read(path, problems, orphans))

    def marked(path: str, problems: Problems) -> Iterable[Form]:
        return map(text_forms.entity_tags, iob2.read(path, problems, orphans))

    codes = corpora.Codes()
    found = corpora.find(sources, corpora.IOB2, "entities", names, codes)
    warn_unknown(mixture, codes)
    streams = file_streams(found, forms, bad, marked)
    return register(mixture, streams, config, ["entities", orphans, bad])


def register_topics(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
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
    config: "DataConfig",
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
    config: "DataConfig",
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task of questions about a text for each language; returns the mixture.

    In training a question has its first right answer; elsewhere it is there once for each of them,
    so that a loss is over right answers, and a score can know them all.
    """

    def forms(record: Question, name: str) -> Iterator[Form]:
        right = dict.fromkeys(
            text_forms.question(record.question, record.context, answer)
            for answer in record.answers
        )
        yield from list(right)[:1] if name == "train" else right

    table = TableSource(mixture, sources, "questions", config, split, bad)
    return _by_language(table, mixture, config, forms, lambda record: record.id or record.context)


def _by_language(
    table: TableSource,
    mixture: str,
    config: "DataConfig",
    forms: Callable[[Any, str], Iterable[Form]],
    key: Callable[[Any], str],
) -> str:
    """Registers a task a language of a table; `forms` makes of a record what a split has of it."""
    codes = corpora.Codes()
    written: dict[tuple[str, str], list[str]] = {}
    for own in table.languages(lambda record: record.language):
        # Collections have their own codes: MLQA's `ar` and TyDi's `arabic` are one language.
        alone = "" if own in table.published else own
        written.setdefault((codes.of(own), alone), []).append(own)
    streams = []
    for (code, _), own_codes in written.items():

        def examples(name: str, own_codes: list[str] = own_codes) -> Iterator[Form]:
            for record in table.of(name, key, own_codes):
                if record.language in own_codes:
                    yield from forms(record, name)

        streams.append(Stream(code, examples, table.paths))
    warn_unknown(mixture, codes)
    kind = "topics" if table.kind == "labelled" else table.kind
    return register(mixture, streams, config, [kind, table.recipe, table.bad])
