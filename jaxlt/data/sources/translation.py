"""Translation from files named by both languages: directions, and pairs with the target's tag.

eng_Latn-swh_Latn.tsv:   Hello<TAB>Habari   ->   ("<2swh_Latn> Hello", "Habari")

Where pairs come from (DataConfig.origins) is told by patterns of paths; what none fits is real.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from jaxlt.data.near import nearest_language
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import sources
from jaxlt.data.sources.splits import WHOLE, Parting
from jaxlt.errors import UserError, nearest

REAL = "real"  # the origin of pairs that people wrote


def ends_of(pair: str) -> tuple[str, str]:
    """Returns (source, target) of a direction 'eng_Latn-swh_Latn'."""
    source, dash, target = pair.partition("-")
    if not (source and dash and target):
        raise UserError(
            "A file of translation is named by both languages, eng_Latn-swh_Latn.tsv, not "
            f"'{pair}'."
        )
    return source, target


def check_tag(tag: str, origins: Sequence[tuple[str, str]]) -> None:
    """Raises UserError for a tag that is no template, and for origins that are no names."""
    try:
        tag.format(source="eng_Latn", target="swh_Latn", origin="")
    except (KeyError, IndexError, ValueError) as err:
        raise UserError(
            f"DataConfig.tag = '{tag}' is no template ({err!r}): it may hold {{source}}, "
            "{target} and {origin}, as in '<2{target}> '."
        ) from None
    for origin, _ in origins:
        if origin == REAL or not origin.isidentifier():
            raise UserError(
                f"DataConfig.origins names '{origin}': an origin is a word such as "
                f"'back_translated', and '{REAL}' is what fits no pattern."
            )


def by_origin(
    paths: Sequence[str], origins: Sequence[tuple[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Returns the files of each origin: of the first whose pattern fits the end of a path."""
    found: dict[str, list[str]] = {}
    for path in paths:
        fits = (name for name, pattern in origins if fnmatch.fnmatch(f"/{path}", f"*/{pattern}"))
        found.setdefault(next(fits, REAL), []).append(path)
    return {name: tuple(files) for name, files in found.items()}


def discover(
    given: Sequence[str], both: bool, languages: Sequence[str], directions: Sequence[str]
) -> sources.Files:
    """Returns the files of each direction; `both`: every file serves for the way back, too.

    `directions` chooses some and demands them; else those among `languages`, if there are any.
    """
    ways: sources.Files = {}
    named = sources.discover(given, sources.PAIRS)
    for pair, paths in named.items():
        source, target = ends_of(pair)
        ways[pair] = paths
        back = f"{target}-{source}"
        if both and back in named:
            raise UserError(
                f"There are files of '{pair}' and of '{back}': keep one, or set "
                "DataConfig.both_directions = False."
            )
        if both:
            ways[back] = paths
    known = {end for pair in ways for end in ends_of(pair)}
    where = ", ".join(given)
    for pair in directions:
        if pair not in ways:
            raise UserError(
                f"There is no bitext '{pair}' in {where}: rates of translation name directions, "
                f"such as eng_Latn-swh_Latn.{nearest(pair, ways)}"
            )
    if directions:
        return {pair: ways[pair] for pair in directions}
    for name in languages:
        if name not in known:
            raise UserError(
                f"There is no bitext of language '{name}' in {where}."
                f"{nearest_language(name, known)}"
            )
    chosen = set(languages or known)
    return {pair: ways[pair] for pair in sorted(ways) if set(ends_of(pair)) <= chosen}


def turned(paths: Sequence[str], pair: str) -> bool:
    """Says whether the files of a direction hold its target first."""
    first = PurePosixPath(paths[0])
    return first.parent.name != pair and first.name.partition(".")[0] != pair


def mark_of_first(path: str, pair: str) -> bytes:
    """Returns what stands before a file's first texts where groups hold them."""
    source, target = ends_of(pair)
    return f"{target if turned([path], pair) else source}\0".encode()


def pairs(
    paths: Sequence[str],
    pair: str,
    split: str,
    drawn: Parting = WHOLE,
    problems: Problems | None = None,
) -> Iterator[tuple[bytes, bytes]]:
    """Yields (inputs, targets) of a direction, without a tag.

    Both directions of a pair are on one side of the split: what the file has first decides, or the
    group that it is in.
    """
    back = turned(paths, pair)
    for first, second in sources.pairs(paths, split, drawn, problems):
        yield (second, first) if back else (first, second)


def mark(tag: str, ends: tuple[str, str], origin: str = "") -> bytes:
    """Returns what stands before inputs; {origin} is '<back_translated> ', or nothing if real."""
    named = "" if origin in ("", REAL) else f"<{origin}> "
    return tag.format(source=ends[0], target=ends[1], origin=named).encode()
