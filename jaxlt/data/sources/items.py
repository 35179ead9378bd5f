"""What lies in a file of any known format: its kind, and its items with their texts by language.

    kind = kind_of("ud/en_ewt-dev.conllu.gz")                  # 'treebank'
    for item in items("ud/en_ewt-dev.conllu.gz", kind, Problems()):
        item.texts                                             # (('', 'He sleeps.'),)
    by_language(("ud/", "xnli/"))["eng_Latn"].lines()          # its texts, from all files

An item is what the format has: a sentence, a document, a pair, a fact.
"""

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxlt.data.near import nearest_language
from jaxlt.data.readers import bitext, conllu, iob2, tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.readers.questions import Question
from jaxlt.data.sources import corpora, files, layouts, sources
from jaxlt.errors import UserError

ENDINGS = tuple(dict.fromkeys((*corpora.ALL, *sources.TEXT, *sources.PAIRS)))
_log = logging.getLogger(__name__)


class Item(NamedTuple):
    """One item: its language ('' where the file does not say; a:b of a pair) and texts by language.

    split is '' where the file does not say it; words are 0 where they are not told apart.
    """

    language: str
    texts: tuple[tuple[str, str], ...]
    split: str = ""
    words: int = 0


def kind_of(path: str) -> str:
    """Returns what a file holds, "" for a table of unknown columns."""
    place = layouts.published(path)
    if place and place.holds == "aligned":
        return "text"
    if place and place.holds == "entities" and iob2.holds_tags(path):
        return "entities"
    for kind, endings in (("treebank", corpora.CONLLU), ("entities", corpora.IOB2)):
        if path.endswith(endings):
            return kind
    if path.endswith(corpora.LINES):
        return "text"
    try:
        return corpora.kind_of(path) if path.endswith((*corpora.TABLES, *tables.SQUAD)) else ""
    except UserError:
        return "text" if path.endswith(sources.TEXT) and _has_text(path) else ""


def _has_text(path: str) -> bool:
    first = next(tables.rows(path, Problems("skip")), None)
    return first is not None and "text" in first[1]


def place_of(path: str, kind: str) -> layouts.Place:
    """Returns what the name of a file of that kind says."""
    return layouts.place(path, "aligned" if kind == "text" else kind)


def items(path: str, kind: str, problems: Problems) -> Iterator[Item]:
    """Yields the items of a file."""
    if kind == "treebank":
        for sentence in conllu.read(path, problems, trees=False):
            text = sentence.comment("text") or " ".join(sentence.forms)
            yield Item("", (("", text),), words=len(sentence.forms))
    elif kind == "entities":
        for tagged in iob2.read(path, problems):
            yield Item("", (("", " ".join(tagged.tokens)),), words=len(tagged.tokens))
    elif kind == "text":
        for _, document in sources.lines(path, problems):
            yield Item("", (("", document.decode("utf-8")),))
    elif kind == "wide":
        for parallel in bitext.wide(path, problems):
            for pair in parallel.texts:
                yield Item(pair[0], (pair,))
    else:
        for record in tables.read(path, problems)[1]:
            yield _of_record(record)


def _of_record(record: Any) -> Item:
    split = getattr(record, "split", "")
    split = "validation" if split == "dev" else split
    if isinstance(record, tables.Pair):
        ends = (record.source_language, record.source), (record.target_language, record.target)
        return Item(f"{record.source_language}:{record.target_language}", ends, split)
    names = {
        tables.Text: ("text",),
        tables.Labelled: ("text",),
        tables.Fact: ("subject", "object"),
        tables.Template: ("pattern",),
        tables.Inference: ("premise", "hypothesis"),
        Question: ("question", "context"),
    }[type(record)]
    texts = tuple((record.language, getattr(record, name)) for name in names)
    return Item(record.language, texts, split)


@dataclass(frozen=True)
class Texts:
    """The texts of one language: files with their kinds, and the codes that they have for it.

    A file without codes is all of that language.
    """

    found: tuple[tuple[str, str, frozenset[str]], ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files."""
        return tuple(path for path, _, _ in self.found)

    def lines(self) -> Iterator[str]:
        """Yields the texts, each as one line."""
        for path, kind, codes in self.found:
            for item in items(path, kind, Problems()):
                for code, text in item.texts:
                    if not codes or code in codes:
                        if kind == "templates":
                            text = text.replace("[X]", "").replace("[Y]", "")
                        yield " ".join(text.splitlines())

    def sample(self, count: int, seed: int) -> list[str]:
        """Returns at most `count` lines, each as likely as any other, in the order of the files."""
        if count < 1:
            raise UserError(f"--lines is at least 1, not {count}.")
        rng = np.random.default_rng(seed)
        kept: list[tuple[int, str]] = []
        for number, line in enumerate(self.lines()):
            if number < count:
                kept.append((number, line))
            elif (place := int(rng.integers(number + 1))) < count:
                kept[place] = (number, line)
        return [line for _, line in sorted(kept)]


def by_language(given: Sequence[str], languages: Sequence[str] = ()) -> dict[str, Texts]:
    """Returns the texts of each language in folders, files or patterns of any known format.

    Running text is named as `sources.discover` names it, other files as their rows or names say.
    `languages` keeps only those, and demands them.
    """
    codes, keys = corpora.Codes(), functools.cache(corpora.own_keys)
    named = {path: name for source in given for path, name in _running(source).items()}
    texts: dict[str, list[tuple[str, str, frozenset[str]]]] = {}
    for path in corpora.walk(given, ENDINGS, holds=""):
        kind = kind_of(path)
        if not kind:
            _log.warning("'%s' is left out: its columns fit no kind of table known here.", path)
            continue
        place = place_of(path, kind)
        default = named.get(path) or codes.of_place(place) or place.corpus
        inside: dict[str, set[str]] = {}
        for raw in sorted(_codes_in(path, kind)):
            known = keys(path).get(raw, raw) if kind == "texts" else raw
            inside.setdefault(codes.of(known) if raw else default, set()).add(raw)
        for language, raws in inside.items():
            texts.setdefault(language, []).append((path, kind, frozenset(raws - {""})))
    for name in languages:
        if name not in texts:
            raise UserError(
                f"There is no text of language '{name}' in {', '.join(given)}."
                f"{nearest_language(name, texts)}"
            )
    if not texts:
        raise UserError(f"There is no text in {', '.join(given)}.")
    return {name: Texts(tuple(texts[name])) for name in languages or sorted(texts)}


def _codes_in(path: str, kind: str) -> set[str]:
    """Returns the codes of languages that a file's items have, "" for those that say none."""
    if kind in ("treebank", "entities", "text"):
        return {""}
    if kind == "wide":
        return {name for name in tables.header(path) if name != "id"}
    return {code for item in items(path, kind, Problems()) for code, _ in item.texts}


def _running(source: str) -> dict[str, str]:
    """Returns the language of each file that `sources.discover` takes for running text."""
    near = [p for p in corpora.walk((source,), sources.TEXT) if _level(source, p) <= 2]
    if not any(kind_of(path) == "text" and not layouts.published(path) for path in near):
        return {}
    by_name = sources.discover((source,), sources.TEXT)
    return {path: name for name, paths in by_name.items() for path in paths}


def _level(source: str, path: str) -> int:
    """Returns how many folders below a source a path lies; 1 for a file in it."""
    if not files.is_folder(source):
        return 0
    return files.absolute(path).removeprefix(files.absolute(source).rstrip("/")).count("/")
