"""Facts as seqio tasks: a sentence with [Y] for what is asked, and the answer.

register_facts("facts", "mpararel_templates.tsv.gz", ("mpararel_triples.tsv.gz",), config)

A fact is in one split in all languages and templates, known by its ids.
"""

from collections.abc import Iterator, Sequence

from jaxlt.data import text_forms
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers import facts, tables
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.sources import corpora
from jaxlt.data.sources.splits import Split
from jaxlt.data.tasks.examples import Stream, TableSource, register, warn_unknown
from jaxlt.data.text_forms import Form


def register_facts(
    mixture: str,
    templates: str,
    sources: Sequence[str],
    config: ReadConfig,
    most: int | None = None,
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task for each language of triples; returns the mixture.

    `templates` is the table of patterns by language and relation, `most` how many of a relation's
    are used (None: all).
    """
    table = TableSource(mixture, sources, "facts", config, split, bad)
    codes = corpora.Codes()
    streams = []
    for code in table.languages(lambda record: record.language):

        def examples(name: str, code: str = code) -> Iterator[Form]:
            with Problems(bad) as problems:
                patterns = tables.read(templates, problems)[1]
                triples = (r for r in table.of(name, facts.key) if r.language == code)
                for item in facts.statements(patterns, triples, most):
                    yield text_forms.fact(item.question, item.answer)

        streams.append(Stream(codes.of(code), examples, (*table.paths, templates)))
    warn_unknown(mixture, codes)
    return register(mixture, streams, config, ["facts", table.recipe, most, bad])
