"""What a run's tasks are, as gin says it: kinds of corpora and how they are read.

    DataConfig.tasks = @TaskConfig()
    TaskConfig.kind = 'tagging'
    TaskConfig.sources = 'ud'
    TaskConfig.names = 'en_ewt'

Several are @pos/TaskConfig(), @ner/TaskConfig(), each with its own bindings. A task's name is
'<kind>.<corpus>.<language>', where files have corpora, and else '<kind>.<language>'.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from jaxlt.data.synth.families import FactoryConfig
from jaxlt.data.tasks.registry import class_of
from jaxlt.errors import UserError, repeated
from jaxlt.identity import PLACED, as_tuples

_ALL = ("kind", "name", "languages")


@dataclass(frozen=True)
class TaskConfig:
    """One kind of task over some corpora.

    `sources` are folders, files or patterns; `names` choose treebanks or entity files (en_ewt),
    `languages` those tasks whose languages are all among them. What is held out where the files do
    not say it, and what happens at a malformed line, is DataConfig's matter. Translation has
    directions from and to a `pivot`, or `pairs` (eng_Latn:swh_Latn), and `ids` name the lines of
    aligned files; facts have a table of `templates`, of which `most` are used for a relation. A
    synthetic kind has the languages of a `factory`, synthetic_mixed those that mix their speech.
    'denoise' is text by language as span corruption, to be mixed into other tasks. `name` stands
    for the kind in the tasks' names.
    """

    kind: str
    sources: tuple[str, ...] = dataclasses.field(default=(), metadata=PLACED)
    name: str = ""
    names: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    orphans: Literal["repair", "refuse"] = "repair"
    templates: str | None = dataclasses.field(default=None, metadata=PLACED)
    most: int | None = None
    pivot: str | None = None
    pairs: tuple[str, ...] = ()
    ids: str | None = dataclasses.field(default=None, metadata=PLACED)
    factory: FactoryConfig | None = None

    def __post_init__(self) -> None:
        as_tuples(self, "sources", "names", "languages", "pairs")
        kind = class_of(self.kind)
        own = (*_ALL, "factory" if kind.made else "sources", *kind.takes)
        for known in fields(self):
            if known.name not in own and getattr(self, known.name) != known.default:
                raise UserError(
                    f"TaskConfig.{known.name} is not for the kind '{self.kind}', which takes "
                    f"{', '.join(own)}."
                )
        if kind.made and self.factory is None:
            raise UserError(f"TaskConfig.factory of '{self.kind}' lacks: give @FactoryConfig().")
        if not kind.made and not self.sources:
            raise UserError(f"TaskConfig.sources of the kind '{self.kind}' is empty: name a file.")
        for pair in self.pairs:
            source, _, target = pair.partition(":")
            if not source or not target or source == target or ":" in target:
                raise UserError(
                    f"TaskConfig.pairs are of two languages, source:target, not '{pair}'."
                )
        if "templates" in kind.takes and not self.templates:
            raise UserError("TaskConfig.templates is the table of how relations are said.")
        if not self.label.isidentifier():
            raise UserError(f"TaskConfig.name is of letters, digits and '_', not '{self.name}'.")

    @property
    def label(self) -> str:
        """The first part of its tasks' names: of a user's own kind that of its class."""
        return self.name or self.kind.rpartition(":")[2]

    @property
    def made(self) -> bool:
        """Whether its languages are made by a factory, without files."""
        return bool(class_of(self.kind).made)

    @property
    def paired(self) -> bool:
        """Whether examples are inputs and targets, rather than running text."""
        return not class_of(self.kind).running


def check(tasks: Sequence[TaskConfig], sources: bool, paired: bool, objective: str) -> None:
    """Raises UserError for tasks that do not go together, or not with the rest of a DataConfig."""
    if sources:
        raise UserError(
            "DataConfig.sources and DataConfig.tasks both say what to read: give one of them "
            "(--gin.TEXT=[] where a file sets sources)."
        )
    if twice := repeated(task.label for task in tasks):
        raise UserError(f"Two tasks are named '{twice[0]}': give one another TaskConfig.name.")
    for task in tasks:
        if task.paired != paired:
            needed = "'text_to_text'" if task.paired else "one of running text, 'span_corruption'"
            raise UserError(
                f"A task of {task.kind} needs another DataConfig.objective than '{objective}': "
                f"{needed}."
            )
