"""Tables whose rows say their language: JSON lines, parquet, or TSV with a header.

    column = LanguageColumn("language", memory=cache_root / "tables")
    column("corpus.jsonl")                  # ('swh_Latn', 'wol_Latn'): a text each
    column.only("corpus.jsonl", "swh_Latn")     # for sources.lines: the rows of that text

Codes are brought to one form, so that `sw` and `swa_Latn` are one text; unknown ones are kept.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import corpora
from jaxlt.data.sources.parts import Parts
from jaxlt.data.sources.sources import Only, text_of
from jaxlt.errors import UserError


class LanguageColumn:
    """The languages that the column `name` of tables holds.

    A table is read once: what each language has of it is kept in `memory`.
    `unknown` are codes that no table of languages knows, with the nearest known one.
    """

    def __init__(self, name: str, memory: Path):
        self.name = name
        self._codes = corpora.Codes()
        self._parts = Parts(memory, f"column {name}", self._entries)

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
        codes = [code for code in self._raw(path) if self._of(code) == language]
        if not self._raw(path):
            return None
        part = self._parts.of(path, codes[0]) if len(codes) == 1 else None
        return Only(self.name, set(codes).__contains__, part)

    def _of(self, code: str) -> str:
        return self._codes.of(code.strip())

    def _raw(self, path: str) -> tuple[str, ...]:
        """Returns the codes as the rows have them."""
        return self._parts.codes(path) if path.endswith(tables.ENDINGS) else ()

    def _entries(self, path: str, problems: Problems) -> Iterator[tuple[str, tuple[int, str]]]:
        """Yields (code, (row number, text)) of a table that has the column."""
        if self._is_there(path):
            for number, row in tables.rows(path, problems):
                code = row.get(self.name, "")
                if code:
                    yield code, (number, text_of(row, path, number, problems))
                else:
                    problems.at(path, number, f"no '{self.name}': whose text is it?")

    def _is_there(self, path: str) -> bool:
        """Says whether a table has the column, by its header or its first row."""
        if ".tsv" not in path:
            first = next(tables.rows(path, Problems("skip")), None)
            return first is not None and self.name in first[1]
        try:
            return {self.name, "text"} <= set(tables.header(path))
        except UserError:  # no table of text: something else that lies in the folder
            return False
