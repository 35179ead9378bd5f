"""The mixture of a DataConfig as seqio knows it: its tasks, at the rates of jaxlt's own rows.

    register(config)                  # 'text': now seqio.get_mixture_or_task('text') has it
    seqio.get_mixture_or_task("text").get_dataset({"inputs": 512, "targets": 114}, "train")

In a process of T5X's or a user's own, `import jaxlt.config.mixtures` does it for gin files.
"""

import seqio

from jaxlt.data import mixtures
from jaxlt.data.config import DataConfig
from jaxlt.data.objectives.build import build_objective
from jaxlt.data.seqio_tasks import configured, text
from jaxlt.data.sources.discovery import discover
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError


def register(config: DataConfig) -> str:
    """Registers the config's tasks and their mixture with seqio; returns the mixture's name.

    Tasks are named '<mixture>.<language>', or as DataConfig.tasks are; they have the examples that
    open_mixture reads, before these are cut, noised and packed.
    """
    _check(config)
    vocabulary = open_vocabulary(config.vocabulary_config)
    objective = build_objective(config, vocabulary)
    texts, brought = mixtures.open_texts(config, config.split, vocabulary, objective)
    shares = mixtures.rates_of(config, texts, brought, objective)
    tasks = register_tasks(config)
    rates = {tasks[t.name]: float(r) for t, r in zip(texts, shares, strict=True)}
    if config.mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(config.mixture)
    seqio.MixtureRegistry.add(config.mixture, list(rates.items()))
    return config.mixture


def register_tasks(config: DataConfig) -> dict[str, str]:
    """Registers the tasks of a config; returns their names by language, direction or task."""
    if config.tasks:
        return {name: task.name for name, task in configured.register(config).items()}
    return text.register_tasks(config, discover(config))


def _check(config: DataConfig) -> None:
    """Raises UserError for what seqio's tasks cannot say."""
    if not (config.sources or config.tasks):
        raise UserError(
            f"The mixture '{config.mixture}' is one that seqio is to know already: DataConfig has "
            "neither sources nor tasks to register."
        )
    if config.objective == "heads":
        raise UserError(
            "What heads read is jaxlt's own, and no text: set DataConfig.objective = "
            "'text_to_text' to have the same tasks in seqio."
        )
    if config.transfer:
        raise UserError(
            "seqio's tasks know no setting of transfer: leave DataConfig.transfer out, and choose "
            "languages by DataConfig.rates."
        )
    for field in ("amounts", "origins"):
        if getattr(config, field):
            raise UserError(
                f"seqio's tasks have all of their examples alike: leave DataConfig.{field} out, or "
                "train by `jaxlt train`."
            )
    if config.text.is_noisy or config.text.anew:
        raise UserError(
            "seqio's tasks have no noise, which TextConfig makes anew for each row of jaxlt's own "
            "batches: leave TextConfig's noise out, or train by `jaxlt train`."
        )
