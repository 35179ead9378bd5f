"""What tables tell of languages: family, class of resources, script. Several tables add up.

Reads a user's own table (columns `code` and any of `name script family direction joshi aliases`)
and, by their headers, Glottolog's `languages`, URIEL's families, LinguaMeta, GlotScript, and the
list of Joshi et al. (2020) with ISO codes. Tab-separated, plain or .gz.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from jaxlt.data.readers.lines import numbered
from jaxlt.errors import UserError, nearest

OWN_COLUMNS = ("code", "name", "script", "family", "direction", "joshi", "aliases")


@dataclass
class Facts:
    """Facts by ISO 639-3 code, and the rows of the user's own tables, by column."""

    family: dict[str, str] = field(default_factory=dict)
    joshi: dict[str, int] = field(default_factory=dict)
    script: dict[str, str] = field(default_factory=dict)
    own: list[dict[str, str]] = field(default_factory=list)


def read_facts(paths: Iterable[str]) -> Facts:
    """Returns what the tables tell; where two tell of one language, the earlier is believed."""
    facts = Facts()
    for path in paths:
        rows = _rows(path)
        number, header = next(rows, (1, []))
        reader = _reader(header)
        if reader is None:
            raise UserError(
                f"'{path}' is no table of languages that jaxlt knows: its first line is "
                f"'{' '.join(header)[:80]}'. A table of your own begins with a line of columns, "
                f"`code` and any of {', '.join(OWN_COLUMNS[1:])}, separated by tabs."
                f"{nearest(header[0] if header else '', OWN_COLUMNS)}"
            )
        if reader is _joshi:
            _joshi(facts, {}, header, f"'{path}', line {number}")
            header = []
        elif reader is _own:
            _check_columns(path, header)
        for number, cells in rows:
            if header and len(cells) > len(header):
                raise UserError(
                    f"'{path}', line {number}: {len(cells)} cells, but {len(header)} columns."
                )
            filled = cells + [""] * (len(header) - len(cells))
            reader(
                facts, dict(zip(header, filled, strict=False)), cells, f"'{path}', line {number}"
            )
    return facts


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, cells), comments and blank lines left out."""
    for number, line in numbered(path):
        if line.strip() and not line.startswith("#"):
            yield number, line.split("\t") if "\t" in line else line.split(",")


def _check_columns(path: str, header: list[str]) -> None:
    unknown = [name for name in header if name not in OWN_COLUMNS]
    if unknown:
        raise UserError(
            f"'{path}' has a column '{unknown[0]}'. Columns are {', '.join(OWN_COLUMNS)}."
            f"{nearest(unknown[0], OWN_COLUMNS)}"
        )


_Reader = Callable[[Facts, dict[str, str], list[str], str], None]


def _reader(header: list[str]) -> _Reader | None:
    """Returns what reads a table, which is known by its columns."""
    for columns, reader in _READERS:
        if columns <= set(header):
            return reader
    if len(header) == 3 and len(header[0]) == 3 and header[1].isdigit():
        return _joshi
    return None


def _own(facts: Facts, row: dict[str, str], cells: list[str], where: str) -> None:
    if not row["code"].strip() or any(c.isspace() for c in row["code"]):
        raise UserError(f"{where}: the code '{row['code']}' is empty or has a space.")
    if row.get("joshi", "") not in ("", *"012345"):
        raise UserError(f"{where}: Joshi's classes are 0 to 5, not '{row['joshi']}'.")
    if row.get("direction", "") not in ("", "ltr", "rtl"):
        raise UserError(f"{where}: a direction is 'ltr' or 'rtl', not '{row['direction']}'.")
    facts.own.append({name: cell.strip() for name, cell in row.items()})


def _glottolog(facts: Facts, row: dict[str, str], cells: list[str], where: str) -> None:
    isolate = row["isolate"].strip().lower() in ("true", "1")
    facts.family.setdefault(row["iso639_3"], row["name"] if isolate else row["family"])


def _uriel(facts: Facts, row: dict[str, str], cells: list[str], where: str) -> None:
    facts.family.setdefault(row["iso639_3"], row["families"].split("|")[0])


def _script_in(code: str, column: str) -> _Reader:
    """Returns what reads a table whose column of scripts has the main one first."""

    def read(facts: Facts, row: dict[str, str], cells: list[str], where: str) -> None:
        for script in row[column].replace(",", " ").split()[:1]:
            facts.script.setdefault(row[code], script)

    return read


_READERS: tuple[tuple[set[str], _Reader], ...] = (
    ({"iso639_3", "name", "family", "isolate"}, _glottolog),
    ({"iso639_3", "families"}, _uriel),
    ({"iso_639_3_code", "writing_systems"}, _script_in("iso_639_3_code", "writing_systems")),
    ({"ISO639-3", "ISO15924-Main"}, _script_in("ISO639-3", "ISO15924-Main")),
    ({"code"}, _own),
)


def _joshi(facts: Facts, row: dict[str, str], cells: list[str], where: str) -> None:
    if len(cells) < 2 or cells[1] not in tuple("012345"):
        raise UserError(f"{where}: expected iso639-3,class,name with a class from 0 to 5.")
    facts.joshi[cells[0]] = max(int(cells[1]), facts.joshi.get(cells[0], 0))
