"""The files that a DataConfig's `sources` mean, by language or by direction of translation."""

from jaxlt.data.config import DataConfig
from jaxlt.data.readers.problems import warn_once
from jaxlt.data.rows.prepared import language_column
from jaxlt.data.sources import corpora, sources, translation


def discover(config: DataConfig) -> sources.Files:
    """Returns the files of the languages that take part; of translation, of the directions."""
    rated = tuple(n for n, _ in config.rates)
    if config.objective == "translation":
        found = translation.discover(
            config.sources, config.both_directions, config.languages, rated
        )
        ends: dict[str, list[str]] = {}
        for pair, paths in found.items():
            for end in translation.ends_of(pair):
                ends.setdefault(end, []).extend(paths)
        corpora.check_twins(ends)
        return found
    column = None if config.paired else language_column(config)
    found = sources.discover(config.sources, config.endings, rated or config.languages, column)
    corpora.check_twins(found)
    if column and column.unknown:
        where = ", ".join(config.sources)
        warn_once(f"The column '{column.name}' in {where} has codes {column.report()}")
    return found
