"""Corpora in a folder: which files belong together, their language and their split, by file name.

    find(("ud/",), CONLLU)      # Corpus('en_ewt', 'eng_Latn', {'train': (...), 'test': (...)}), ...

A name is `<language>_<anything>-<split>.<ending>`: en_ewt-train.conllu.gz, eng_Latn.txt.gz,
sib200_dev.tsv. Codes are brought to one form, as the languages table has it; one that is unknown
there is kept as it stands, and can be reported with the nearest (`Codes.report`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from jaxlt.data import files
from jaxlt.data.languages import LanguageTable, parse, same_language
from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError, nearest

CONLLU = tuple(f".conllu{pack}" for pack in ("", *files.PACKED))
IOB2 = tuple(f".iob2{pack}" for pack in ("", *files.PACKED))
LINES = tuple(f".txt{pack}" for pack in ("", *files.PACKED))
TABLES = tables.ENDINGS
ALL = (*CONLLU, *IOB2, *LINES, *TABLES)

_SPLITS = {"train": "train", "test": "test", "dev": "validation", "valid": "validation"}
_SPLITS["validation"] = "validation"
_SPLIT = re.compile(rf"(?:^|[-_.])({'|'.join(_SPLITS)})$")
_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_](?:[A-Z][a-z]{3}|[A-Z]{2}))?(?![^_-])")
_PLAIN = re.compile(r"[a-z]{2,3}(?:[-_][A-Z][a-z]{3})?")
_WHOLE = re.compile(r"[a-z]{2,3}_[A-Z][a-z]{3}")


@dataclass(frozen=True)
class Corpus:
    """Files of one name: `paths` by split, "" for files whose name says none."""

    name: str
    language: str  # "" where the name begins with none
    paths: Mapping[str, tuple[str, ...]] = field(hash=False)


class Codes:
    """Languages' codes in one form; `unknown` are those that no table knows, with the nearest."""

    def __init__(self, table: LanguageTable | None = None):
        self._table = table or LanguageTable()
        self.unknown: dict[str, str] = {}

    def of(self, code: str) -> str:
        """Returns `iso_Script` of any code; an unknown one as it stands."""
        found = self._table.find(code)
        if found:
            return found.code
        if code not in self.unknown:
            try:
                self._table.get(code)
            except UserError as err:
                near = re.search(r"Did you mean '(.*)'", str(err))
                self.unknown[code] = near[1] if near else ""
        return code

    def report(self) -> str:
        """Returns a sentence on the unknown codes, or ""."""
        if not self.unknown:
            return ""
        said = (f"{code} (near {near})" if near else code for code, near in self.unknown.items())
        return (
            "unknown as codes of languages, and kept as they stand: "
            + ", ".join(said)
            + ". A table of your own can name them."
        )

    def of_name(self, name: str) -> str:
        """Returns the language that a file's name begins with, or "" for none."""
        match = _CODE.match(name)
        return self.of(match[0]) if match else ""


def check_twins(names: Mapping[str, Sequence[str]]) -> None:
    """Raises UserError for two codes among names that mean one language, with the files of both.

    Codes with a region (en-GB, en-US) are texts of their own, and so are names that are no codes.
    """
    first: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        parsed = parse(name) if _PLAIN.fullmatch(name) else None
        if parsed is None:
            continue
        twin = first.setdefault((same_language(parsed.language), parsed.script), name)
        if twin != name:
            where = ", ".join(dict.fromkeys([*names[twin], *names[name]]))
            raise UserError(
                f"'{twin}' and '{name}' are codes of one language ({where}): give its files one "
                "name, so that they are one text, or leave one out."
            )


def stem(path: str) -> tuple[str, str]:
    """Returns (name without ending and split, split or "") of a path."""
    name = PurePosixPath(path).name
    ending = max((e for e in ALL if name.endswith(e)), key=len, default="")
    name = name.removesuffix(ending)
    match = _SPLIT.search(name)
    return (name[: match.start()], _SPLITS[match[1]]) if match else (name, "")


def walk(sources: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Returns all files with these endings, in folders at any depth, as paths or by pattern."""
    found: list[str] = []
    for source in sources:
        if files.exists(source):
            found += _below(source, tuple(endings))
        elif any(c in source for c in "*?["):
            found += [p for p in files.matches(source) if p.endswith(tuple(endings))]
        else:
            raise UserError(files.missing(source))
    return list(dict.fromkeys(found))


def _below(path: str, endings: tuple[str, ...]) -> list[str]:
    if not files.is_folder(path):
        return [path] if path.endswith(endings) else []
    return [p for inner in files.listing(path) for p in _below(inner, endings)]


def find(
    sources: Sequence[str],
    endings: Sequence[str],
    names: Sequence[str] = (),
    codes: Codes | None = None,
) -> tuple[Corpus, ...]:
    """Returns the corpora of sources, sorted by name; `names` keeps those, and demands them."""
    codes = codes or Codes()
    by_name: dict[str, dict[str, list[str]]] = {}
    for path in walk(sources, endings):
        name, split = stem(path)
        by_name.setdefault(name, {}).setdefault(split, []).append(path)
    for name, splits in by_name.items():
        for paths in splits.values():
            if len(paths) > 1:
                raise UserError(
                    f"The corpus '{name}' is there more than once: {', '.join(sorted(paths))}. "
                    "Read these folders one by one."
                )
    for name in names:
        if name not in by_name:
            raise UserError(
                f"There is no corpus '{name}' in {', '.join(sources)}.{nearest(name, by_name)}"
            )
    if not by_name:
        raise UserError(f"There is no {' or '.join(endings)} file in {', '.join(sources)}.")
    return tuple(
        Corpus(name, codes.of_name(name), {s: tuple(p) for s, p in by_name[name].items()})
        for name in sorted(names or by_name)
    )


def own_keys(path: str) -> dict[str, str]:
    """Returns the language of each key that a table uses in place of codes.

    They are in a file `languages.tsv` beside it, with the columns key, iso639_3 and iso15924.
    """
    beside = path.rpartition("/")[0] + "/languages.tsv" if "/" in path else "languages.tsv"
    if not files.exists(beside):
        return {}
    found = {}
    for number, row in tables.rows(beside, Problems()):
        lacking = [name for name in ("key", "iso639_3", "iso15924") if not row.get(name)]
        if lacking:
            raise UserError(f"'{beside}', line {number}: no '{lacking[0]}'.")
        found[row["key"]] = f"{row['iso639_3']}_{row['iso15924']}"
    return found


def kind_of(path: str) -> str:
    """Returns what a table holds, 'wide' where its columns are languages; else a UserError."""
    if not path.endswith(tuple(e for e in TABLES if e.startswith(".tsv"))):
        return tables.read(path)[0]
    names = [name for name in tables.header(path) if name != "id"]
    codes = Codes()
    if len(names) > 1 and all(_WHOLE.fullmatch(name) and codes.of_name(name) for name in names):
        return "wide"
    return tables.layout_of(tables.header(path), path).kind
