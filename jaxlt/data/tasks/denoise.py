"""Running text among tasks with answers: span corruption as pairs, to be mixed into fine-tuning.

A model that is fine-tuned on one language's answers forgets to write the others; some text of
theirs beside the task is a remedy. Such a task has a training split alone: nothing is asked of it.
Text is cut into pieces that fill a row, and the spans that are asked for are drawn once: an epoch
is like the one before. Documents that are held out elsewhere are left out.
"""

from jaxlt.data.rows.prepared import Prepared, language_column
from jaxlt.data.sources import sources
from jaxlt.data.tasks.examples import known_codes
from jaxlt.data.tasks.kind import Kind, Reading, Stream

SPLITS = ("train",)


class Denoise(Kind):
    """Text by language, whose spans are asked for."""

    denoised = True

    def streams(self, reading: Reading) -> list[Stream]:
        column = language_column(reading.config)
        by_language = sources.discover(reading.task.sources, sources.TEXT, (), column)
        streams = []
        with known_codes(reading.name) as codes:
            for language, paths in by_language.items():
                text = Prepared(reading.config, language, paths)
                streams.append(Stream(codes.of(language), text.documents, text.identity, SPLITS))
        return streams
