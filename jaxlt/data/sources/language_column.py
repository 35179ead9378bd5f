"""Tables whose rows say their language: JSON lines, parquet, or TSV with a header.

    column = LanguageColumn("language", memory=cache_root / "languages")
    column("corpus.jsonl")                  # ('swh_Latn', 'wol_Latn'): a text each
    column.only("corpus.jsonl", "swh_Latn")     # for sources.lines: the rows of that text

Codes are brought to one form, so that `sw` and `swa_Latn` are one text; unknown ones are kept.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.rows.batches import digest
from jaxlt.data.sources import corpora, files
from jaxlt.data.sources.sources import Only
from jaxlt.errors import UserError


class LanguageColumn:
    """The languages that the column `name` of tables holds.

    A table is read once for it; what was found is remembered in `memory` by the table's contents.
    `unknown` are codes that no table of languages knows, with the nearest known one.
    """

    def __init__(self, name: str, memory: Path):
        self.name, self._memory = name, memory
        self._codes = corpora.Codes()
        self._known: dict[str, str] = {}

    @property
    def unknown(self) -> Mapping[str, str]:
        """Codes that no table knows, with the nearest or ""."""
        return self._codes.unknown

    def report(self) -> str:
        """Returns a sentence on the unknown codes, or ""."""
        return self._codes.report()

    def __call__(self, path: str) -> tuple[str, ...]:
        """Returns the languages of a table's rows, sorted; () where it has no such column."""
        return tuple(sorted({self._of(code) for code in self._raw(path)}))

    def only(self, path: str, language: str) -> Only | None:
        """Returns what chooses a language's rows of a file; None where all rows are meant."""
        raw = self._raw(path)
        return Only(self.name, lambda code: self._of(code) == language) if raw else None

    def _of(self, code: str) -> str:
        found = self._known.get(code)
        if found is None:
            found = self._known[code] = self._codes.of(code.strip())
        return found

    def _raw(self, path: str) -> list[str]:
        """Returns the codes as the rows have them."""
        if not path.endswith(tables.ENDINGS):
            return []
        content = files.content_digest(path, self._memory.parent / "digests")
        note = self._memory / f"{digest([content, self.name])[:32]}.json"
        try:
            return [str(code) for code in json.loads(note.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            pass
        found: set[str] = set()
        if self._is_there(path):
            rows = tables.rows(path, Problems("skip"))
            found = {row[self.name] for _, row in rows if row.get(self.name)}
        with suppress(OSError):  # only a memory
            files.write_atomically(note, json.dumps(sorted(found)))
        return sorted(found)

    def _is_there(self, path: str) -> bool:
        """Says whether a table has the column, by its header or its first row."""
        if ".tsv" not in path:
            first = next(tables.rows(path, Problems("skip")), None)
            return first is not None and self.name in first[1]
        try:
            return {self.name, "text"} <= set(tables.header(path))
        except UserError:  # no table of text: something else that lies in the folder
            return False
