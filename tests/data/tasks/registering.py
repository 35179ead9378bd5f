"""The streams of a task without a run, remembered by the names of their tasks."""

from jaxlt.data.config import DataConfig
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.configured import chosen
from jaxlt.data.tasks.kind import Stream

_STREAMS: dict[str, dict[str, Stream]] = {}  # by mixture, by '<corpus>.<language>'


def register(
    kind: str, mixture: str, sources: tuple[str, ...], config: DataConfig, **own: object
) -> None:
    """Opens a task over sources; `own` are the other fields of its TaskConfig."""
    streams = chosen(mixture, TaskConfig(kind, sources, **own), config)
    _STREAMS[mixture] = {n.removeprefix(f"{mixture}."): s for n, s in streams.items()}


def tasks(mixture: str) -> list[str]:
    """The names of a mixture's streams."""
    return list(_STREAMS[mixture])


def stream(name: str) -> Stream:
    """The stream '<mixture>.<stream>'."""
    mixture, _, own = name.partition(".")
    return _STREAMS[mixture][own]


def texts(name: str, split: str = "train") -> list[tuple[str, str]]:
    """The (inputs, targets) of a split of a stream."""
    return list(stream(name).examples(split))
