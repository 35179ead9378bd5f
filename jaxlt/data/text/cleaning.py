"""Cleans a corpus of files by language, each for itself, into files of the same names.

corpus = sources.discover(["corpus/"], sources.TEXT)
reports = clean(corpus, CleanConfig(near=0.8), to="clean")     # to=None: only counts
reports["swh_Latn"].dropped                                    # {"duplicate": 12, ...}
"""

import collections
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from jaxlt.data.languages import LanguageTable
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files, sources
from jaxlt.data.text.hygiene import CleanConfig, Cleaner, Report
from jaxlt.errors import UserError, nearest

Corpus = Mapping[str, tuple[str, ...]]  # language -> its files


def clean(
    corpus: Corpus,
    config: CleanConfig,
    against: Corpus | None = None,
    table: LanguageTable | None = None,
    to: str | None = None,
    dropped: str | None = None,
    problems: Problems | None = None,
) -> dict[str, Report]:
    """Returns what became of each language.

    Args:
      corpus: the files to clean.
      config: what is dropped.
      against: test text, which no line may be, hold or resemble.
      table: says the scripts of languages; jaxlt's own table, where none is given.
      to: the folder of the clean text, a file a language; without one nothing is written.
      dropped: a local folder for what is dropped, (reason, text) a line.
      problems: takes malformed lines; without it they are errors.
    """
    problems, table, against = problems or Problems(), table or LanguageTable(), against or {}
    if against and not against.keys() & corpus.keys():
        raise UserError(
            f"No language of --against ({', '.join(list(against)[:5])}) is one of the corpus "
            f"({', '.join(list(corpus)[:5])}): files of one language need one name."
            f"{nearest(next(iter(against)), corpus)}"
        )
    for folder in filter(None, (to, dropped)):
        files.check_apart(folder, (path for paths in corpus.values() for path in paths))
    reports = {}
    for language, paths in corpus.items():
        cleaner = Cleaner(config, _script(language, table) if config.script else "")
        for path in against.get(language, ()):
            cleaner.protect(sources.texts((path,), problems), path)
        _clean(cleaner, sources.texts(paths, problems), language, to, dropped)
        reports[language] = cleaner.report
    return reports


def _script(language: str, table: LanguageTable) -> str:
    known = table.find(language)
    tail = language.rpartition("_")[2]
    script = known.script if known else tail
    if script == "Zyyy" or (not known and not (len(tail) == 4 and "_" in language)):
        raise UserError(
            f"The script of '{language}' is not known, so --script cannot be used: name the file "
            f"by language and script ({language}_Latn), or give a table of languages with --table."
        )
    return script


def _clean(
    cleaner: Cleaner, lines: Iterator[str], language: str, to: str | None, dropped: str | None
) -> None:
    """Cleans one language; kept texts and dropped ones go to their folders, if there are any."""

    def kept(waste: BinaryIO | None) -> Iterator[bytes]:
        for line in lines:
            reason = cleaner.verdict(line)
            if reason is None:
                yield f"{line}\n".encode()
            elif waste:
                cell = line.replace("\t", " ")
                waste.write(f"{reason}\t{cell}\n".encode())

    with contextlib.ExitStack() as stack:
        waste = None
        if dropped:
            Path(dropped).mkdir(parents=True, exist_ok=True)
            waste = stack.enter_context((Path(dropped) / f"{language}.tsv").open("wb"))
            waste.write(b"reason\ttext\n")
        if to:
            files.write_chunks(f"{to.rstrip('/')}/{language}.txt", kept(waste))
        else:
            collections.deque(kept(waste), maxlen=0)
