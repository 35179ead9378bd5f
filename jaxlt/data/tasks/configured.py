"""The streams of the tasks that a DataConfig describes."""

import re

from jaxlt.data.config import DataConfig
from jaxlt.data.near import nearest_language
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.kind import Reading, Stream, kind_of
from jaxlt.errors import UserError, repeated

_UNNAMABLE = re.compile(r"[^\w.:#]")  # what seqio lets no task's name have: my-corpus, en-GB


def streams(config: DataConfig) -> dict[str, tuple[TaskConfig, Stream]]:
    """Returns the streams of `config.tasks` by their tasks' names: 'tagging.en_ewt.eng_Latn'."""
    return {
        name.removeprefix(f"{config.mixture}."): (task, stream)
        for task in config.tasks
        for name, stream in chosen(f"{config.mixture}.{task.label}", task, config).items()
    }


def chosen(mixture: str, task: TaskConfig, config: ReadConfig) -> dict[str, Stream]:
    """Returns a task's streams of the languages that are asked for, as '<mixture>.<stream>'."""
    found = kind_of(task.kind).streams(Reading(mixture, task, config))
    if not found:
        raise UserError(f"There is nothing in the sources of '{mixture}' to make a task of.")
    names = [f"{mixture}.{_UNNAMABLE.sub('_', stream.name)}" for stream in found]
    if twice := repeated(names):
        raise UserError(
            f"Two tasks would be named '{twice[0]}': the sources have one language under two "
            "codes, or two corpora whose names differ in their dashes alone. Give it one code."
        )
    ends = {name: name.rpartition(".")[2].split(":") for name in names}
    known = {end for both in ends.values() for end in both}
    for language in task.languages:
        if language not in known:
            where = ", ".join(task.sources) or "the factory"
            raise UserError(
                f"TaskConfig.languages names '{language}', which {where} has not."
                f"{nearest_language(language, known)}"
            )
    wanted = set(task.languages or known)
    named = dict(zip(names, found, strict=True))
    return {name: stream for name, stream in named.items() if wanted.issuperset(ends[name])}
