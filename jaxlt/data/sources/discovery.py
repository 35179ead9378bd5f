"""The files that a DataConfig's `sources` mean, by language or by direction of translation."""

from jaxlt.data.config import DataConfig
from jaxlt.data.readers.problems import warn_once
from jaxlt.data.rows.prepared import language_column
from jaxlt.data.sources import corpora, sources, translation


def discover(config: DataConfig) -> sources.Files:
    """Returns the files of the languages that take part; of translation, of the directions."""
    rated = tuple(n for n, _ in config.rates)
    if config.objective == "translation":
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
