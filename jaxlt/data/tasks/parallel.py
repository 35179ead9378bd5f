"""Texts by language and their translations as seqio tasks.

    register_translation("bible", ("mt/bible/",), config, pivot="eng_Latn")
    register_translation("seed", ("mt/seed.tsv.gz",), config, pairs=("ita_Latn:lij_Latn",))
    register_words("words", ("dict/gatitos.tsv.gz",), config)
    register_texts("udhr", ("udhr/udhr.tsv.gz",), config)

A direction is named source:target, and its task '<mixture>.<source>:<target>'. Inputs begin with
the tag of the target language, DataConfig.tag. What belongs together (a verse, an id) is in
one split in all languages.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import seqio

from jaxlt.data import text_forms
from jaxlt.data.near import nearest_language
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers import bitext, tables
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.seqio_tasks.text import register_documents_task
from jaxlt.data.sources import corpora, files
from jaxlt.data.sources.splits import Split
from jaxlt.data.tasks.examples import Stream, TableSource, register, split_of, warn_unknown
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError


def register_translation(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    pivot: str | None = None,
    pairs: Sequence[str] = (),
    ids: str | None = None,
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task for each direction; returns the mixture.

    Sources are line-aligned files (`ids` a file with the id of every line), as a folder of one file
    a language or as FLORES, NTREX and Tatoeba are published, whose splits are kept; a TSV file with
    a column a language, tables of (language, id, text), or tables of pairs. Without `pairs` all
    directions are meant, or with a `pivot` those from and to it.
    """
    lines = corpora.walk(sources, corpora.LINES, "aligned")
    tabled = corpora.walk(sources, corpora.TABLES)
    if lines:
        texts = _aligned(sources, ids)
    elif tabled and corpora.kind_of(tabled[0]) == "bitext":
        return _pairs(mixture, sources, config, "bitext", pairs, split, bad)
    else:
        texts = _columns(tabled)
    wanted = _directions(texts, pivot, pairs)
    read = list(dict.fromkeys(path for text in texts for path in text.files.values()))
    codes = {code for text in texts for code in text.files}

    def size() -> int:
        return sum(files.text_size(path) for path in read) // max(len(codes), 1)

    drawn = split_of(config, mixture, read, split, size)
    streams = []
    for source, target in wanted:

        def examples(name: str, source: str = source, target: str = target) -> Iterator[Form]:
            with Problems(bad) as problems:
                for text in texts:
                    if not {source, target} <= set(text.files) or text.split not in ("", name):
                        continue
                    for item in text.read(source, target, problems):
                        before, after = item.get(source), item.get(target)
                        said = text.split or drawn.of(item.id.encode())
                        if before and after and said == name:
                            yield text_forms.translation(before, after, target, config.tag)

        both = (text for text in texts if {source, target} <= set(text.files))
        used = (f for text in both for f in (text.files[source], text.files[target], *text.more))
        streams.append(Stream(f"{source}:{target}", examples, tuple(dict.fromkeys(used))))
    recipe = ["translation", drawn.validation, drawn.test, drawn.seed, config.tag, bad]
    return register(mixture, streams, config, recipe)


@dataclass(frozen=True)
class _Texts:
    """Texts that say the same: the file of each language, and how two of them are read.

    split: what the files' names say, "" where it is drawn. more: what is read beside them.
    """

    files: Mapping[str, str]
    read: Callable[[str, str, Problems], Iterable[bitext.Parallel]]
    split: str = ""
    more: tuple[str, ...] = ()


def _aligned(sources: Sequence[str], ids: str | None) -> list[_Texts]:
    """Returns the groups of line-aligned files; `ids` are those of files that say no split."""

    def texts(group: corpora.Aligned) -> _Texts:
        own = None if group.split else ids

        def read(source: str, target: str, problems: Problems) -> Iterator[bitext.Parallel]:
            paths = {name: group.paths[name] for name in (source, target)}
            return bitext.aligned(paths, problems, own)

        return _Texts(group.paths, read, group.split, (own,) if own else ())

    return [texts(group) for group in corpora.aligned(sources)]


def _columns(paths: Sequence[str]) -> list[_Texts]:
    if len(paths) != 1:
        raise UserError(f"Parallel text is one table or one folder of files, not {len(paths)}.")
    path, codes = paths[0], corpora.Codes()
    wide = corpora.kind_of(path) == "wide"
    if wide:
        own = {codes.of(name): name for name in tables.header(path) if name != "id"}
    else:
        records = tables.read(path, Problems("skip"))[1]
        own = {codes.of(name): name for name in {getattr(r, "language", "") for r in records}}
    known = {name: code for code, name in own.items()}

    def read(source: str, target: str, problems: Problems) -> Iterator[bitext.Parallel]:
        names = (own[source], own[target])
        if wide:
            items = bitext.wide(path, problems)
        else:
            records = tables.read(path, problems)[1]
            items = bitext.joined(r for r in records if getattr(r, "language", "") in names)
        for item in items:
            yield bitext.Parallel(
                item.id, tuple((known[n], t) for n, t in item.texts if n in names)
            )

    return [_Texts(dict.fromkeys(own, path), read)]


def _directions(
    texts: Sequence[_Texts], pivot: str | None, pairs: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns the (source, target) that are meant, or raises UserError for a language not there."""
    codes = sorted({code for text in texts for code in text.files})
    there = {(a, b) for text in texts for a in text.files for b in text.files if a != b}
    named = [(pair.partition(":")[0], pair.partition(":")[2]) for pair in pairs]
    for code in [code for pair in named for code in pair] + ([pivot] if pivot else []):
        if code not in codes:
            raise UserError(
                f"There is no text of language '{code}' among the parallel ones; a direction is "
                f"named source:target.{nearest_language(code, codes)}"
            )
    for a, b in named:
        if (a, b) not in there:
            beside = [code for code in codes if (a, code) in there]
            raise UserError(
                f"No text is there both in '{a}' and in '{b}'; beside '{a}' there are "
                f"{', '.join(beside)}."
            )
    return named or [pair for pair in sorted(there) if pivot is None or pivot in pair]


def register_words(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task of translating words for each direction of dictionaries, both ways."""
    return _pairs(mixture, sources, config, "dictionary", (), split, bad)


def _pairs(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    kind: str,
    wanted: Sequence[str],
    split: Split | None,
    bad: Bad,
) -> str:
    table = TableSource(mixture, sources, kind, config, split, bad)
    codes = corpora.Codes()
    whole = config.rules.whole_groups

    def records(name: str) -> Iterator[tables.Pair]:
        return table.grouped(name) if whole else table.of(name, lambda r: r.source)

    ends = table.languages(lambda r: f"{r.source_language}:{r.target_language}")
    streams = []
    for end in ends:
        for back in (False, True):

            def examples(name: str, end: str = end, back: bool = back) -> Iterator[Form]:
                for r in records(name):
                    if f"{r.source_language}:{r.target_language}" == end:
                        texts = (r.target, r.source) if back else (r.source, r.target)
                        language = codes.of(r.source_language if back else r.target_language)
                        yield text_forms.translation(*texts, language, config.tag)

            names = [codes.of(code) for code in end.split(":")]
            direction = ":".join(reversed(names) if back else names)
            if not wanted or direction in wanted:
                streams.append(Stream(direction, examples, table.paths))
    warn_unknown(mixture, codes)
    recipe = [kind, table.recipe, config.tag, bad, *(["whole groups"] if whole else [])]
    return register(mixture, streams, config, recipe)


def register_texts(
    mixture: str,
    sources: Sequence[str],
    config: ReadConfig,
    bad: Bad = "strict",
) -> str:
    """Registers a task of running text for each language of tables, under the config's objective.

    A file `languages.tsv` beside a table may say what language its own keys are (corpora.own_keys).
    Rows with one id are on one side of the split in all languages.
    """
    table = TableSource(mixture, sources, "texts", config, None, bad)
    codes = corpora.Codes()
    known = {key: code for path in table.paths for key, code in corpora.own_keys(path).items()}
    by_code: dict[str, set[str]] = {}
    for own in table.languages(lambda record: record.language):
        by_code.setdefault(codes.of(known.get(own, own)), set()).add(own)
    for code, own_keys in by_code.items():

        def documents(split: str, own_keys: set[str] = own_keys) -> Iterator[bytes]:
            for record in table.of(split, lambda r: r.id):
                if record.language in own_keys:
                    yield record.text.encode()

        def identity(own_keys: set[str] = own_keys) -> list[object]:
            memory = config.cache_root / "digests"
            content = [files.content_digest(path, memory) for path in table.paths]
            return [content, sorted(own_keys), table.recipe, bad]

        register_documents_task(f"{mixture}.{code}", documents, config, identity)
    warn_unknown(mixture, codes)
    if mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(mixture)
    seqio.MixtureRegistry.add(mixture, [f"{mixture}.{code}" for code in by_code], default_rate=1.0)
    return mixture
