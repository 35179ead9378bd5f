"""Labelled text as seqio tasks: parts of speech, trees, entities, topics, as text to text.

    config = DataConfig(objective="text_to_text", inputs_length=512)
    register_tagging("pos", ("ud/",), config)               # tasks pos.en_ewt.eng_Latn, ...
    open_mixture(replace(config, mixture="pos.en_ewt.eng_Latn"))

The last part of a task's name is its language. The splits of treebanks and entity files are those
of their files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from jaxlt.data import corpora, text_forms
from jaxlt.data.readers import conllu, iob2
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.splits import Split
from jaxlt.data.tasks.examples import Stream, TableSource, file_streams, register, warn_unknown
from jaxlt.data.text_forms import Form

if TYPE_CHECKING:
    from jaxlt.data.mixtures import DataConfig


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
    found = corpora.find(sources, corpora.CONLLU, names, codes)
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

    codes = corpora.Codes()
    found = corpora.find(sources, corpora.IOB2, names, codes)
    warn_unknown(mixture, codes)
    streams = file_streams(found, forms, bad)
    return register(mixture, streams, config, ["entities", orphans, bad])


def register_topics(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task of classes of text for each language of labelled tables."""
    table = TableSource(mixture, sources, "labelled", config, split, bad)
    codes = corpora.Codes()
    streams = []
    for code in table.languages(lambda record: record.language):

        def examples(name: str, code: str = code) -> Iterator[Form]:
            for record in table.of(name, lambda r: r.id or r.text):
                if record.language == code:
                    yield text_forms.topic(record.text, record.label)

        streams.append(Stream(codes.of(code), examples, table.paths))
    warn_unknown(mixture, codes)
    return register(mixture, streams, config, ["topics", table.recipe, bad])
