"""A task of a kind as a mixture of seqio's, without a run."""

import seqio

from jaxlt.data.config import DataConfig
from jaxlt.data.seqio_tasks.configured import register_stream
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.configured import chosen
from jaxlt.data.tasks.kind import kind_of


def register(
    kind: str, mixture: str, sources: tuple[str, ...], config: DataConfig, **own: object
) -> str:
    """Registers tasks over sources; `own` are the other fields of their TaskConfig."""
    streams = chosen(mixture, TaskConfig(kind, sources, **own), config)
    for name, stream in streams.items():
        register_stream(name, kind_of(kind), stream, config)
    if mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(mixture)
    seqio.MixtureRegistry.add(mixture, list(streams), default_rate=1.0)
    return mixture
