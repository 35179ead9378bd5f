"""A Result: one number, what it is of, and all that it takes to measure it again.

    results.append("runs/tagger/results.jsonl", [Result(metric="las", value=0.81, n=2077, ...)])
    rows = results.read("runs/tagger/results.jsonl")     # older files too
    latest(rows)                                         # the last of what was measured twice

Losses, scores, sizes, latencies and analyses are all Results. Tables and JSON are made of them, and
jaxlt.metrics.result_file alone writes and reads them. A field that does not apply is at its default
and is not written; so a field may be added later, and what was measured before keeps its meaning.
"""

import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from jaxlt.errors import UserError, check_choices
from jaxlt.identity import renamed

Aggregate = Literal["none", "pooled", "macro", "family", "class"]
Unit = Literal[
    "tokens", "bytes", "words", "spans", "examples", "questions", "languages", "families",
    "parameters", "repeats", "seeds",
]  # fmt: skip
ALL = "all"  # the group of all that was scored


class Module(NamedTuple):
    """A module as it took part: of a library 'lang=glv', of the run 'lang'; a hash of its values.

    One of several, as in a bank or an average, is 'lang=glv+tgl'; a delta of a file 'sw=sw.st'.
    """

    name: str
    fingerprint: str = ""


class Interval(NamedTuple):
    """Where a value lies with `confidence`."""

    low: float
    high: float
    confidence: float = 0.95


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How answers were written: by beams where there are several, by draws where it is said.

    length: tokens at most. labels: what alone may be answered. force: what an answer begins with.
    draws: (setting, value) pairs of what is drawn, seed included.
    """

    beams: int = 1
    length: int | None = None
    length_penalty: float | None = None  # of beams
    labels: tuple[str, ...] = ()
    force: str = ""
    language_tokens: str = dataclasses.field(
        default="", metadata=renamed("own_tokens")
    )  # folder of text by language, whose tokens alone are answered
    draws: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One number.

    A value of one task, source and target has the aggregate 'none'. Others are of several, the
    `members`, and have no `target` of their own: 'pooled' counts all their examples as one set,
    'macro' is the mean of their values, 'family' that of the languages of a family, 'class' that of
    a class of languages (seen, unseen). `group` says which: 'all', 'without_source', 'seen',
    'family/Bantu', or 'families' (the mean of all families' means).
    """

    # what was measured
    metric: str
    value: float | None  # None: not finite
    n: int  # how many things the value is over, and what they are
    unit: Unit = "examples"
    interval: Interval | None = None
    higher_is_better: bool | None = None  # None: neither is
    chance: float | None = None  # what answers without any knowledge get
    scale: float | None = None  # the best value; None: no bound is known
    # on what
    task: str = ""
    source: str = ""  # language of the inputs
    target: str = ""  # language of the answers
    split: str = ""
    aggregate: Aggregate = "none"
    group: str = ""
    members: tuple[str, ...] = ()  # of an aggregate
    # of what
    study: str = ""
    cell: str = ""
    seed: int = 0
    stage: str = ""
    run: str = ""  # name of the run's folder
    method: str = ""  # in words of a study; 'baseline/majority' for what is no model
    modules: tuple[Module, ...] = ()
    step: int | None = None
    parameters: int | None = None  # that were trained
    decoding: Decoding | None = None
    settings: tuple[tuple[str, str], ...] = ()  # flags beside these that a value depends on
    config: str = ""  # hash of the configuration (jaxlt.identity): without seed, and paths
    command: str = ""  # that measures it again, in the run's folder (--workdir)
    # found on the way: of what was really read
    base: str = ""  # fingerprint of the backbone
    data: str = ""  # of the rows
    references: str = ""  # of the right answers of this task, language and split
    transfer: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # setting, sources, ...
    amounts: Mapping[str, Mapping[str, float]] = dataclasses.field(
        default_factory=dict
    )  # of a dosed text that trained: its examples, its tokens, the steps of an epoch of it
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fit for JSON
    time: float | None = None  # seconds since 1970, when it was written

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)
        if self.interval is not None:
            object.__setattr__(self, "interval", Interval(*self.interval))
        check_choices(self, "Result.", aggregate=Aggregate, unit=Unit)
        if (self.aggregate == "none") != (not self.group):
            raise UserError(
                f"A Result of the aggregate '{self.aggregate}' has "
                f"{'no' if self.aggregate == 'none' else 'a'} group, and this one of "
                f"'{self.metric}' has '{self.group}'."
            )

    @property
    def language(self) -> str:
        """What a table's line is named by: the target, 'source-target', or an aggregate's group."""
        if self.group:
            return self.group
        if self.source and self.source != self.target:
            return f"{self.source}-{self.target}"
        return self.target

    @property
    def bare_task(self) -> str:
        """The kind of task of a row of one language: 'tagging' of 'tagging.glv', 'tagging.en_ewt'.

        What one language has twice by it (two treebanks) is told apart by `task` alone.
        """
        return self.task.partition(".")[0] if self.target else self.task

    @property
    def epochs(self) -> dict[str, float]:
        """How often each dosed text has been read by `step`: above 1 it was repeated.

        A text of amount 0 was read 0 times.
        """
        steps = self.step or 0
        return {n: steps / of["epoch"] if of["epoch"] else 0.0 for n, of in self.amounts.items()}

    @property
    def asked(self) -> tuple[Any, ...]:
        """What was asked: two Results that agree in it measure the same, perhaps at other times.

        A module counts by its name: one that was trained anew takes the other's place.
        """
        return (*_asked(self), tuple(module.name for module in self.modules))


_asked = operator.attrgetter(
    *("metric", "task", "source", "target", "split", "aggregate", "group", "members"),
    *("study", "cell", "seed", "stage", "run", "method", "step", "decoding", "settings", "config"),
)


def latest(results: Iterable[Result]) -> list[Result]:
    """Keeps the last Result of each thing that was asked, in the order of these last ones."""
    last: dict[tuple[Any, ...], Result] = {}
    for result in results:
        last.pop(result.asked, None)
        last[result.asked] = result
    return list(last.values())
