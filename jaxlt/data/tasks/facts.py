"""Facts in templates: a sentence with [Y] for what is asked, `fact: Ada does [Y]` -> `maths`.

A fact is in one split in all languages and templates, known by its ids.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.tasks import baselines
from jaxlt.data.tasks.examples import TableSource, content_of, known_codes
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError


def key(fact: tables.Fact) -> str:
    """Returns what is the same for a fact in every language."""
    return f"{fact.relation} {fact.subject_id} {fact.object_id}"


def in_templates(
    templates: Iterable[tables.Record], facts: Iterable[tables.Record], most: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yields (sentence with [Y] for the object, object) of every fact in its relation's templates.

    They are those of its language, `most` of them at most; there may be none.
    """
    by_relation: dict[tuple[str, str], list[tables.Template]] = {}
    for template in templates:
        if not isinstance(template, tables.Template):
            raise UserError("The table of templates holds something else: expected patterns.")
        by_relation.setdefault((template.language, template.relation), []).append(template)
    for fact in facts:
        assert isinstance(fact, tables.Fact)
        for template in by_relation.get((fact.language, fact.relation), [])[:most]:
            yield template.fill(fact.subject), fact.object


class Facts(Kind):
    """Triples in the templates of their language and relation; `most` of a relation's are used."""

    takes: ClassVar[tuple[str, ...]] = ("templates", "most")
    metrics = ("p@1",)

    def streams(self, reading: Reading) -> list[Stream]:
        task, table = reading.task, TableSource(reading, "facts")
        templates = task.templates or ""  # TaskConfig demands them
        recipe, streams = ["facts", table.recipe, task.most, reading.config.on_malformed], []

        @functools.cache
        def patterns() -> list[tables.Record]:
            with Problems(reading.config.on_malformed) as problems:
                return list(tables.read(templates, problems)[1])

        with known_codes(reading.name) as codes:
            for code in table.languages():

                def records(split: str, code: str = code) -> Iterator[tuple[str, str]]:
                    triples = table.of(split, key, [code])
                    return in_templates(patterns(), triples, task.most)

                name, paths = codes.of(code), (*table.paths, templates)
                own = content_of(reading, paths, name, recipe)
                streams.append(self.stream(reading, name, records, own))
        return streams

    def form(self, record: Any, wording: Wording) -> Form:
        return self.inputs(record[0]), record[1]

    def inputs(self, asked: str, wording: Wording = USUAL) -> str:
        return f"fact: {asked}"

    def learner(self, heads: bool) -> baselines.Usual:
        return baselines.Usual("commonest_answer")
