"""The files that a DataConfig's `sources` mean, by language or by direction of translation."""

from collections.abc import Iterator

from jaxlt.data.config import DataConfig
from jaxlt.data.readers.problems import warn_once
from jaxlt.data.rows.prepared import language_column
from jaxlt.data.sources import corpora, sources, translation
from jaxlt.errors import UserError, nearest


def discover(config: DataConfig) -> sources.Files:
    """Returns the files of the languages that take part; of translation, of the directions."""
    rated = tuple(n for n, _ in config.rates)
    if config.objective == "translation":
        origins = {translation.REAL, *(name for name, _ in config.origins)}
        if config.origins:  # of which rates may name one of all directions, or of one
            pairs = tuple(dict.fromkeys(name.partition(".")[0] for name in rated))
            rated = () if origins & set(rated) else pairs
        by_name = translation.discover(
            config.sources, config.both_directions, config.languages, rated
        )
        ends: dict[str, list[str]] = {}
        for pair, paths in by_name.items():
            for end in translation.ends_of(pair):
                ends.setdefault(end, []).extend(paths)
        corpora.check_twins(ends)
        return by_name
    column = None if config.paired else language_column(config)
    by_name = sources.discover(config.sources, config.endings, rated or config.languages, column)
    corpora.check_twins(by_name)
    if column and column.unknown:
        where = ", ".join(config.sources)
        warn_once(f"The column '{column.name}' in {where} has codes {column.report()}")
    return by_name


def parted(config: DataConfig) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields (language or direction, origin, files) of all that takes part; '' is the usual origin.

    With DataConfig.origins a direction comes once for each of those that its files have, and that
    rates name, if any are given.
    """
    by_name = discover(config)
    if not config.origins:
        yield from ((name, "", paths) for name, paths in by_name.items())
        return
    found = {name: translation.by_origin(paths, config.origins) for name, paths in by_name.items()}
    for origin, pattern in config.origins:
        if not any(origin in of for of in found.values()):
            every = sorted({path for paths in by_name.values() for path in paths})
            raise UserError(
                f"DataConfig.origins: no file of the bitext fits '{pattern}' of '{origin}'; there "
                f"are {', '.join(every[:4])}.{nearest(pattern, every)}"
            )
    rated = {name for name, _ in config.rates}
    for name, of in found.items():
        for origin, paths in of.items():
            if not rated or rated & {name, origin, f"{name}.{origin}"}:
                yield name, origin, paths
