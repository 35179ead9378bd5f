"""Corpora in a folder: which files belong together, their language and their split, by file name.

    find(("ud/",), CONLLU, "treebank")  # Corpus('en_ewt', 'eng_Latn', {'train': (...), ...}), ...

Files are named as the collections of jaxlt.data.sources.layouts publish them, or
`<language>_<anything>-<split>.<ending>`: en_ewt-train.conllu.gz, eng_Latn.txt.gz, sib200_dev.tsv.
Codes are brought to one form, as the languages table has it; one that is unknown
there is kept as it stands, and can be reported with the nearest (`Codes.report`).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxlt.data.languages import default_table, parse, same_language
from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems, warn_once
from jaxlt.data.sources import files, layouts
from jaxlt.errors import UserError, nearest

CONLLU, IOB2, LINES = (files.endings(plain) for plain in (".conllu", ".iob2", ".txt"))
TABLES = tables.ENDINGS
ALL = (*CONLLU, *IOB2, *LINES, *TABLES)

_PLAIN = re.compile(r"[a-z]{2,3}(?:[-_][A-Z][a-z]{3})?")
_REGION = re.compile(r"[-_][A-Z]{2}$")
_WHOLE = re.compile(r"[a-z]{2,3}_[A-Z][a-z]{3}")


@dataclass(frozen=True)
class Corpus:
    """Files of one name: `paths` by split, "" for files whose name says none."""

    name: str
    language: str  # "" where the name begins with none
    paths: Mapping[str, tuple[str, ...]] = field(hash=False)


class Codes:
    """Languages' codes in one form; `unknown` are those that no table knows, with the nearest."""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}

    def of(self, code: str) -> str:
        """Returns `iso_Script` of any code; an unknown one as it stands."""
        known, near = _looked_up(code)
        if not known:
            self.unknown[code] = near
        return known or code

    def report(self) -> str:
        """Returns a sentence on the unknown codes, or ""."""
        if not self.unknown:
            return ""
        codes = (f"{code} (near {near})" if near else code for code, near in self.unknown.items())
        return (
            "unknown as codes of languages, and kept as they stand: "
            + ", ".join(codes)
            + ". A table of your own can name them."
        )

    def of_place(self, place: layouts.Place) -> str:
        """Returns the language that a file's name says, or "" for none."""
        return self.of(place.language) if place.language else ""


@functools.cache
def _looked_up(code: str) -> tuple[str, str]:
    """Returns a code as the table of languages has it, or else "" and the nearest that it has."""
    table = default_table()
    language = table.find(code)
    return (language.code, "") if language else ("", table.near(code))


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


def walk(sources: Sequence[str], endings: Sequence[str], holds: str | None = None) -> list[str]:
    """Returns all files with these endings, in folders at any depth, as paths or by pattern.

    With `holds`, those of published collections of it ("": of any) are among them, whatever their
    endings; what is left out of a collection (layouts.Place) is not.
    """

    out: dict[str, int] = {}

    def wanted(path: str) -> bool:
        place = None if holds is None else layouts.published(path, holds)
        if place and place.left_out:
            out[place.left_out] = out.get(place.left_out, 0) + 1
        return not place.left_out if place else path.endswith(tuple(endings))

    paths: list[str] = []
    for source in sources:
        if files.exists(source):
            paths += filter(wanted, _below(source))
        elif any(c in source for c in "*?["):
            paths += filter(wanted, files.matches(source))
        else:
            raise UserError(files.missing(source))
    for why, count in out.items():
        if not paths:
            raise UserError(f"{', '.join(sources)}: jaxlt does not read {why}.")
        warn_once(f"{count} files of {', '.join(sources)} are left out: {why}.")
    return list(dict.fromkeys(paths))


def _below(path: str) -> list[str]:
    if not files.is_folder(path):
        return [path]
    return [p for inner in files.listing(path) for p in _below(inner)]


def find(
    sources: Sequence[str],
    endings: Sequence[str],
    holds: str,
    names: Sequence[str] = (),
    codes: Codes | None = None,
) -> tuple[Corpus, ...]:
    """Returns the corpora of sources, sorted by name; `names` keeps those, and demands them.

    holds: what they are, as jaxlt.data.sources.layouts says it of published collections.
    """
    codes = codes or Codes()
    by_name: dict[str, dict[str, dict[str, str]]] = {}  # split -> part of it -> path
    places: dict[str, layouts.Place] = {}
    for path in walk(sources, endings, holds):
        place = layouts.place(path, holds)
        parts = by_name.setdefault(place.corpus, {}).setdefault(place.split, {})
        if place.part in parts:
            raise UserError(
                f"The corpus '{place.corpus}' is there more than once: "
                f"{', '.join(sorted((parts[place.part], path)))}. Read these folders one by one."
            )
        parts[place.part] = path
        places[place.corpus] = place
    for name in names:
        if name not in by_name:
            raise UserError(
                f"There is no corpus '{name}' in {', '.join(sources)}.{nearest(name, by_name)}"
            )
    if not by_name:
        raise UserError(f"There is no {' or '.join(endings)} file in {', '.join(sources)}.")
    return tuple(
        Corpus(
            name,
            codes.of_place(places[name]),
            {split: tuple(parts[p] for p in sorted(parts)) for split, parts in by_split.items()},
        )
        for name in sorted(names or by_name)
        for by_split in [by_name[name]]
    )


@dataclass(frozen=True)
class Aligned:
    """Files whose lines say the same: `paths` by language; `split` is "" where names say none."""

    split: str
    paths: Mapping[str, str] = field(hash=False)


def aligned(sources: Sequence[str], codes: Codes | None = None) -> tuple[Aligned, ...]:
    """Returns the groups of line-aligned files: a corpus's split, in two or more languages.

    Of two texts in one language (eng and eng-GB of NTREX) the one whose name says no region has
    the language's code, and the other keeps its own.
    """
    codes = codes or Codes()
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for path in walk(sources, LINES, "aligned"):
        place = layouts.place(path, "aligned")
        if not place.language:
            continue
        group = groups.setdefault((place.corpus if place.holds else "", place.split), {})
        if place.language in group:
            raise UserError(
                f"Two files are the '{place.language}' of the parallel text: "
                f"{group[place.language]}, {path}. Keep one, or read their folders one by one."
            )
        group[place.language] = path
    parallel = []
    for (_, split), group in sorted(groups.items()):
        paths: dict[str, str] = {}
        for raw in sorted(group, key=lambda raw: (_REGION.search(raw) is not None, raw)):
            code = codes.of(raw)
            kept = raw.replace("-", "_") if code in paths else code
            if kept in paths:
                raise UserError(
                    f"'{paths[kept]}' and '{group[raw]}' are both the '{kept}' of the parallel "
                    "text: keep one, or read their folders one by one."
                )
            paths[kept] = group[raw]
        if len(paths) > 1:
            parallel.append(Aligned(split, paths))
    return tuple(parallel)


def table_files(sources: Sequence[str], kind: str) -> tuple[str, ...]:
    """Returns the tables of a kind in sources; of published ones that are there twice, the first.

    XNLI has each as .tsv and as .jsonl. Files that hold the same otherwise are a UserError; those
    of collections of another kind are left aside.
    """
    endings = (*TABLES, *tables.SQUAD) if kind == "questions" else TABLES
    kept: dict[tuple[str, str, str], str] = {}
    plain: list[str] = []
    for path in walk(sources, endings, kind):
        place = layouts.published(path, kind)
        if place is None:
            others = (other for other in ("questions", "pairs") if other != kind)
            if not any(layouts.published(path, other) for other in others):
                plain.append(path)
            continue
        key = (place.corpus, place.split, "" if place.language_in_ids else place.language)
        twins = [
            p for k, p in kept.items() if k[:2] == key[:2] and (k == key or "" in (k[2], key[2]))
        ]
        if twins and not _copies(twins[0], path):
            raise UserError(
                f"'{twins[0]}' and '{path}' both hold the split '{place.split}' of "
                f"'{place.corpus}': name one of them."
            )
        if not twins or _rank(path) < _rank(twins[0]):
            kept[key] = path
    if not plain and not kept:
        raise UserError(f"There is no table in {', '.join(sources)}.")
    return tuple(sorted([*plain, *kept.values()]) if kept else plain)


def _rank(path: str) -> int:
    return next(i for i, e in enumerate((*TABLES, *tables.SQUAD)) if path.endswith(e))


def _copies(one: str, other: str) -> bool:
    """Says whether two paths differ in their endings alone."""
    stems = {
        path.rpartition(".")[0].removesuffix(".tsv").removesuffix(".jsonl") for path in (one, other)
    }
    return len(stems) == 1


def own_keys(path: str) -> dict[str, str]:
    """Returns the language of each key that a table uses in place of codes.

    They are in a file `languages.tsv` beside it, with the columns key, iso639_3 and iso15924.
    """
    beside = path.rpartition("/")[0] + "/languages.tsv" if "/" in path else "languages.tsv"
    if not files.exists(beside):
        return {}
    keys = {}
    for number, row in tables.rows(beside, Problems()):
        lacking = [name for name in ("key", "iso639_3", "iso15924") if not row.get(name)]
        if lacking:
            raise UserError(f"'{beside}', line {number}: no '{lacking[0]}'.")
        keys[row["key"]] = f"{row['iso639_3']}_{row['iso15924']}"
    return keys


def kind_of(path: str) -> str:
    """Returns what a table holds, 'wide' where its columns are languages; else a UserError."""
    if not path.endswith(tables.TSV):
        return tables.read(path)[0]
    columns, codes = tables.header(path), Codes()
    names = [name for name in columns if name != "id"]
    if len(names) > 1 and all(_WHOLE.fullmatch(name) and codes.of(name) for name in names):
        return "wide"
    return tables.layout_of(columns, path).kind
