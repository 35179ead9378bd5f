"""Texts by language and their translations as seqio tasks.

    register_translation("bible", ("mt/bible/",), config, pivot="eng_Latn")
    register_translation("seed", ("mt/seed.tsv.gz",), config, pairs=("ita_Latn:lij_Latn",))
    register_words("words", ("dict/gatitos.tsv.gz",), config)
    register_texts("udhr", ("udhr/udhr.tsv.gz",), config)

A direction is named source:target, and its task '<mixture>.<source>:<target>'. Inputs begin with
the tag of the target language, DataConfig.tag. What belongs together (a verse, an id) is in
one split in all languages.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import seqio

from jaxlt.data import corpora, files, text_forms
from jaxlt.data.readers import bitext, tables
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.splits import Split, remembered
from jaxlt.data.tasks.examples import Stream, TableSource, register, warn_unknown
from jaxlt.data.tasks.text import register_documents_task
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError, nearest

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig


def register_translation(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    pivot: str | None = None,
    pairs: Sequence[str] = (),
    ids: str | None = None,
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task for each direction; returns the mixture.

    Sources are a folder of line-aligned files (`ids` a file with the id of every line), a TSV file
    with a column a language, tables of (language, id, text), or tables of pairs. Without `pairs`
    all directions are meant, or with a `pivot` those from and to it.
    """
    paths = corpora.walk(sources, (*corpora.TABLES, *corpora.LINES))
    if any(p.endswith(corpora.LINES) for p in paths):
        by_code, read = _aligned(sources, ids)
    elif paths and corpora.kind_of(paths[0]) == "bitext":
        return _pairs(mixture, sources, config, "bitext", pairs, split, bad)
    else:
        by_code, read = _columns(paths)
    wanted = _directions(sorted(by_code), pivot, pairs)
    drawn = remembered(
        config.cache_root / "splits", mixture, split or Split(validation=config.held_out)
    )
    streams = []
    for source, target in wanted:

        def examples(name: str, source: str = source, target: str = target) -> Iterator[Form]:
            with Problems(bad) as problems:
                for item in read((by_code[source], by_code[target]), problems):
                    before, after = (item.get(by_code[code]) for code in (source, target))
                    if before and after and drawn.of(item.id.encode()) == name:
                        yield text_forms.translation(before, after, target, config.tag)

        used = tuple(dict.fromkeys(_files_of(paths, by_code, (source, target))))
        extra = (ids,) if ids else ()
        streams.append(Stream(f"{source}:{target}", examples, (*used, *extra)))
    recipe = ["translation", drawn.validation, drawn.test, drawn.seed, config.tag, bad]
    return register(mixture, streams, config, recipe)


Read = Callable[[tuple[str, str], Problems], Iterable[bitext.Parallel]]


def _aligned(sources: Sequence[str], ids: str | None) -> tuple[dict[str, str], Read]:
    found = {
        c.language: c.paths[""][0]
        for c in corpora.find(sources, corpora.LINES)
        if c.language and "" in c.paths
    }

    def read(names: tuple[str, str], problems: Problems) -> Iterator[bitext.Parallel]:
        return bitext.aligned({name: name for name in names}, problems, ids)

    return found, read


def _columns(paths: Sequence[str]) -> tuple[dict[str, str], Read]:
    if len(paths) != 1:
        raise UserError(f"Parallel text is one table or one folder of files, not {len(paths)}.")
    path, codes = paths[0], corpora.Codes()
    if corpora.kind_of(path) == "wide":
        names = [name for name in tables.header(path) if name != "id"]
        return {codes.of(name): name for name in names}, lambda _, p: bitext.wide(path, p)
    seen = {getattr(r, "language", "") for r in tables.read(path, Problems("skip"))[1]}

    def read(names: tuple[str, str], problems: Problems) -> Iterator[bitext.Parallel]:
        _, records = tables.read(path, problems)
        return bitext.joined(r for r in records if getattr(r, "language", "") in names)

    return {codes.of(name): name for name in seen}, read


def _files_of(
    paths: Sequence[str], by_code: dict[str, str], codes: tuple[str, str]
) -> Iterator[str]:
    for code in codes:
        yield by_code[code] if by_code[code] in paths else paths[0]


def _directions(
    codes: Sequence[str], pivot: str | None, pairs: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns the (source, target) that are meant, or raises UserError for a language not there."""
    named = [pair.partition(":")[::2] for pair in pairs]
    for code in [code for pair in named for code in pair] + ([pivot] if pivot else []):
        if code not in codes:
            raise UserError(
                f"There is no text of language '{code}' among the parallel ones; a direction is "
                f"named source:target.{nearest(code, codes)}"
            )
    if named:
        return [(a, b) for a, b in named]
    every = [(a, b) for a in codes for b in codes if a != b]
    return [pair for pair in every if pivot is None or pivot in pair]


def register_words(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    split: Split | None = None,
    bad: Bad = "strict",
) -> str:
    """Registers a task of translating words for each direction of dictionaries, both ways."""
    return _pairs(mixture, sources, config, "dictionary", (), split, bad)


def _pairs(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
    kind: str,
    wanted: Sequence[str],
    split: Split | None,
    bad: Bad,
) -> str:
    table = TableSource(mixture, sources, kind, config, split, bad)
    codes = corpora.Codes()
    ends = table.languages(lambda r: f"{r.source_language}:{r.target_language}")
    streams = []
    for end in ends:
        for back in (False, True):

            def examples(name: str, end: str = end, back: bool = back) -> Iterator[Form]:
                for r in table.of(name, lambda r: r.source):
                    if f"{r.source_language}:{r.target_language}" == end:
                        texts = (r.target, r.source) if back else (r.source, r.target)
                        language = codes.of(r.source_language if back else r.target_language)
                        yield text_forms.translation(*texts, language, config.tag)

            names = [codes.of(code) for code in end.split(":")]
            direction = ":".join(reversed(names) if back else names)
            if not wanted or direction in wanted:
                streams.append(Stream(direction, examples, table.paths))
    warn_unknown(mixture, codes)
    return register(mixture, streams, config, [kind, table.recipe, config.tag, bad])


def register_texts(
    mixture: str,
    sources: Sequence[str],
    config: "DataConfig",
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
