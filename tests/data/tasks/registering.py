"""A task of a kind as a mixture of seqio's, without a run."""

from jaxlt.data.config import DataConfig
from jaxlt.data.seqio_tasks.configured import register_task
from jaxlt.data.task_config import TaskConfig


def register(
    kind: str, mixture: str, sources: tuple[str, ...], config: DataConfig, **own: object
) -> str:
    """Registers tasks over sources; `own` are the other fields of their TaskConfig."""
    return register_task(mixture, TaskConfig(kind, sources, **own), config)
