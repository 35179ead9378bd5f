"""Running text of tables, under any objective of running text.

A file `languages.tsv` beside a table may say what language its own keys are (corpora.own_keys).
Rows with one id are on one side of the split in all languages.
"""

from collections.abc import Iterator
from dataclasses import replace

from jaxlt.data.sources import corpora
from jaxlt.data.tasks.examples import TableSource, known_codes, read_content
from jaxlt.data.tasks.kind import Kind, Reading, Stream


class Texts(Kind):
    """Texts by language."""

    running = True

    def streams(self, reading: Reading) -> list[Stream]:
        splits = reading.config.splits
        if reading.config.held_out is not None:  # then it is held out for validation alone
            config = replace(reading.config, held_out_test=0.0, split_seed=0)
            reading = replace(reading, config=config)
        table = TableSource(reading, "texts")
        keys = {key: code for path in table.paths for key, code in corpora.own_keys(path).items()}
        by_code: dict[str, set[str]] = {}
        with known_codes(reading.name) as codes:
            for key in table.languages():
                by_code.setdefault(codes.of(keys.get(key, key)), set()).add(key)

        def stream(code: str, own: set[str]) -> Stream:
            def documents(split: str) -> Iterator[bytes]:
                for record in table.of(split, lambda r: r.id, sorted(own)):
                    yield record.text.encode()

            def identity() -> list[object]:
                content = read_content(reading, table.paths)
                return [content, sorted(own), table.recipe, reading.config.on_malformed]

            return Stream(code, documents, identity, splits)

        return [stream(code, own) for code, own in by_code.items()]
