"""The tasks that a DataConfig describes, registered with seqio."""

import seqio

from jaxlt.data.config import DataConfig
from jaxlt.data.near import nearest_language
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks import denoise, factory, facts, labelled, parallel
from jaxlt.errors import UserError


def register(config: DataConfig) -> dict[str, seqio.Task]:
    """Registers `config.tasks` and the mixture over them, `config.mixture`.

    Returns the tasks by their names without the mixture's: 'tagging.en_ewt.eng_Latn'.
    """
    found: dict[str, seqio.Task] = {}
    for task in config.tasks:
        mixture = _register_kind(f"{config.mixture}.{task.label}", task, config)
        own = {
            one.name.removeprefix(f"{config.mixture}."): one
            for one in seqio.get_subtasks(seqio.get_mixture_or_task(mixture))
        }
        found |= _chosen(task, own)
    if config.mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(config.mixture)
    names = [task.name for task in found.values()]
    seqio.MixtureRegistry.add(config.mixture, names, default_rate=1.0)
    return found


def _register_kind(name: str, task: TaskConfig, config: DataConfig) -> str:
    if task.factory:
        return factory.register_factory(name, task.kind, task.factory, config, task)
    given, bad = task.sources, config.on_malformed
    split = None if config.held_out is None else config.shares.split(0)
    if task.kind == "tagging":
        return labelled.register_tagging(name, given, config, task.names, bad)
    if task.kind == "parsing":
        return labelled.register_parsing(name, given, config, task.names, bad)
    if task.kind == "entities":
        return labelled.register_entities(name, given, config, task.names, task.orphans, bad)
    if task.kind == "topics":
        return labelled.register_topics(name, given, config, split, bad)
    if task.kind == "pairs":
        return labelled.register_pairs(name, given, config, split, bad)
    if task.kind == "questions":
        return labelled.register_questions(name, given, config, split, bad)
    if task.kind == "denoise":
        return denoise.register_denoise(name, given, config)
    if task.kind == "words":
        return parallel.register_words(name, given, config, split, bad)
    if task.kind == "texts":
        return parallel.register_texts(name, given, config, bad)
    if task.kind == "facts":
        templates = task.templates or ""  # TaskConfig demands them
        return facts.register_facts(name, templates, given, config, task.most, split, bad)
    return parallel.register_translation(
        name, given, config, task.pivot, task.pairs, task.ids, split, bad
    )


def _chosen(task: TaskConfig, own: dict[str, seqio.Task]) -> dict[str, seqio.Task]:
    """Returns the tasks of the languages that are asked for."""
    ends = {name: name.rpartition(".")[2].split(":") for name in own}
    known = {end for both in ends.values() for end in both}
    for language in task.languages:
        if language not in known:
            where = ", ".join(task.sources) or "the factory"
            raise UserError(
                f"TaskConfig.languages names '{language}', which {where} has not."
                f"{nearest_language(language, known)}"
            )
    wanted = set(task.languages or known)
    return {name: one for name, one in own.items() if wanted.issuperset(ends[name])}
