"""Facts in templates: a sentence with [Y] for what is asked, `fact: Ada does [Y]` -> `maths`.

A fact is in one split in all languages and templates, known by its ids.
"""

import functools
from collections.abc import Iterator
from typing import Any, ClassVar

from jaxlt.data.readers import facts, tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.tasks import baselines
from jaxlt.data.tasks.examples import TableSource, content_of, known_codes
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form


class Facts(Kind):
    """Triples in the templates of their language and relation; `most` of a relation's are used."""

    takes: ClassVar[tuple[str, ...]] = ("templates", "most")
    metrics = ("p@1",)

    def streams(self, reading: Reading) -> list[Stream]:
        """Returns a stream a language of triples."""
        task, table = reading.task, TableSource(reading, "facts")
        templates = task.templates or ""  # TaskConfig demands them
        recipe, streams = ["facts", table.recipe, task.most, reading.config.on_malformed], []

        @functools.cache
        def patterns() -> list[tables.Record]:
            with Problems(reading.config.on_malformed) as problems:
                return list(tables.read(templates, problems)[1])

        with known_codes(reading.name) as codes:
            for code in table.languages():

                def records(split: str, code: str = code) -> Iterator[facts.Statement]:
                    triples = table.of(split, facts.key, [code])
                    return facts.statements(patterns(), triples, task.most)

                name, paths = codes.of(code), (*table.paths, templates)
                own = content_of(reading, paths, name, recipe)
                streams.append(self.stream(reading, name, records, own))
        return streams

    def form(self, record: Any, wording: Wording) -> Form:
        """Returns the sentence with [Y] for what is asked, and the answer."""
        return self.inputs(record.question), record.answer

    def inputs(self, asked: str, wording: Wording = USUAL) -> str:
        """Returns the text that asks for [Y]."""
        return f"fact: {asked}"

    def learner(self, heads: bool) -> baselines.Told:
        """The commonest answer."""
        return baselines.Told()
