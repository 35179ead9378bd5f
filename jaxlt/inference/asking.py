"""Asking a model that writes text: encoded, cut into windows where that is wanted, decoded, read.

asker = Asker(run, predictor, vocabulary)
asker.write(["Guten Tag"], Routes(), Settings())             # [Written(("Good day",), ...)]
asker.by_words(sentences, form, Routes(), Settings())        # [[(words, answer), ...], ...]
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxlt.config import derived
from jaxlt.data.tasks import registry
from jaxlt.data.tasks.kind import Kind, kind_of
from jaxlt.engine.decode.config import DecodingConfig
from jaxlt.errors import UserError, check_one_of, check_positive
from jaxlt.identity import renamed
from jaxlt.inference.constraints import Constraint, checked

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.predictor import Codec, Predictor

BY_WORD = ("tags", "tree", "entities")  # shapes of kinds that are asked about words
OVERLENGTH = ("refuse", "truncate", "window")
Words = Sequence[str]


@dataclasses.dataclass
class Tally:
    """How many there were, and the name of the first."""

    count: int = 0
    first: str = ""

    def add(self, name: str) -> None:
        """Counts one more."""
        self.first = self.first or name
        self.count += 1


@dataclasses.dataclass
class Notes:
    """The inputs that were cut, and those whose answers about words have no end."""

    cut: Tally = dataclasses.field(default_factory=Tally)
    unfinished: Tally = dataclasses.field(default_factory=Tally)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How answers are made.

    labels: what an answer may be (of tag: each word's). force: text that it begins with. length:
    tokens of it at most (as in training). overlength: what becomes of an input above
    DataConfig.inputs_length tokens: 'refuse' is an error, 'truncate' reads its beginning, 'window'
    answers its words in pieces that fit. decoding: greedy unless given; of several `returns`,
    methods that answer with text give a tuple, best first. names and numbers are those of the
    records in errors and for draws.
    """

    labels: Sequence[str] = ()
    force: str = ""
    length: int | None = None
    overlength: str = dataclasses.field(default="refuse", metadata=renamed("long"))
    batch_size: int = 32
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    names: Sequence[str] | None = None
    numbers: Sequence[int] | None = None
    notes: Notes = dataclasses.field(default_factory=Notes)

    def __post_init__(self) -> None:
        labels = self.labels
        if isinstance(labels, str):
            raise UserError(f"`labels` is a list of labels, not the text '{labels}'.")
        object.__setattr__(self, "labels", checked(labels, "`labels`") if len(labels) else ())
        check_one_of("What becomes of long inputs (`overlength`)", self.overlength, OVERLENGTH)
        for field in ("length", "batch_size"):
            check_positive(f"`{field}`", getattr(self, field))

    def name(self, i: int) -> str:
        """What input i is called in errors."""
        return self.names[i] if self.names else f"Text {i}"

    def number(self, i: int) -> int:
        """The number of input i's record."""
        return self.numbers[i] if self.numbers else i


class Routes(NamedTuple):
    """Ids of the inputs' languages and of the outputs', where modules are routed by them."""

    languages: Sequence[int] | None = None
    targets: Sequence[int] | None = None

    def of(self, which: Sequence[int]) -> "Routes":
        """Returns those of some inputs."""
        return Routes(*(None if ids is None else [ids[i] for i in which] for ids in self))


class Written(NamedTuple):
    """What came of an input: texts, best first, and whether the first has no end."""

    answers: tuple[str, ...]
    unfinished: bool


@dataclasses.dataclass
class _Part:
    """Some words of a sentence, and the answer to them once it is there."""

    words: Words
    answer: str | None = None


@dataclasses.dataclass(frozen=True)
class Asker:
    """A run whose model writes its answers as text."""

    run: "RunConfig"
    predictor: "Predictor"
    codec: "Codec"

    @functools.cached_property
    def lengths(self) -> tuple[int, int]:
        """Tokens of an input and of an answer at most, in training."""
        return derived.lengths(self.run)

    def write(
        self,
        texts: Sequence[str],
        routes: Routes,
        how: Settings,
        *,
        with_forced: bool = True,
        words: Sequence[int] | None = None,
    ) -> list[Written]:
        """Texts in, what the model writes out, in the same order.

        with_forced: a forced beginning is part of the answers. words: how many words each text
        has, where `how.labels` are theirs.
        """
        from jaxlt.inference.predictor import encode

        inputs, targets = self.lengths
        constraint = Constraint(self.codec, tuple(how.labels), how.force)
        constrained = constraint.decoding(words)
        length = constraint.length(constrained, how.length or targets)
        advice = (
            "It cannot be answered in pieces (overlength 'window'), which only words that are "
            "tagged or searched for entities can: shorten it, have it cut (--overlength=truncate), "
            "or raise that length."
            if how.overlength == "window"
            else "Shorten it, say what is to become of it (--overlength=truncate reads its "
            "beginning, --overlength=window tags its words in pieces), or raise that length."
        )
        rows = []
        for i, text in enumerate(texts):
            truncate = how.overlength == "truncate"
            ids, cut = encode(self.codec, text, inputs, truncate, how.name(i), advice)
            rows.append(ids)
            if cut:
                how.notes.cut.add(how.name(i))
        decoded = self.predictor.decode_best(
            rows,
            length,
            batch_size=how.batch_size,
            languages=routes.languages,
            targets=routes.targets,
            decoding=how.decoding,
            numbers=[how.number(i) for i in range(len(texts))],
            **constrained,
        )
        start = 0 if with_forced else len(constrained["forced"])
        return [
            Written(
                tuple(constraint.named(self.codec.decode(ids[start:])) for ids in best),
                len(best[0]) == length,
            )
            for best in decoded
        ]

    def by_words(
        self,
        sentences: Sequence[Words],
        form: Callable[[Words], str],
        routes: Routes,
        how: Settings,
    ) -> list[list[tuple[Words, str]]]:
        """Asks for each sentence, or in windows for pieces of it; returns (words, answer) of each.

        form: the text that asks about words. In windows, a piece whose answer has no end is asked
        again in halves.
        """
        parts = [
            [_Part(piece) for piece in self._pieces(words, form, how, i)]
            for i, words in enumerate(sentences)
        ]
        while asked := [
            (i, part) for i, of in enumerate(parts) for part in of if part.answer is None
        ]:
            which = [i for i, _ in asked]
            own = dataclasses.replace(
                how,
                names=[how.name(i) for i in which],
                numbers=[how.number(i) for i in which],
            )
            texts = [form(part.words) for _, part in asked]
            counts = [len(part.words) for _, part in asked] if how.labels else None
            written = self.write(texts, routes.of(which), own, with_forced=False, words=counts)
            for (i, part), (answers, unfinished) in zip(asked, written, strict=True):
                size = len(part.words)
                if unfinished and how.overlength == "window" and size > 1:
                    place = next(p for p, one in enumerate(parts[i]) if one is part)
                    halves = part.words[: size // 2], part.words[size // 2 :]
                    parts[i][place : place + 1] = [_Part(half) for half in halves]
                    continue
                part.answer = answers[0]
                if unfinished:
                    how.notes.unfinished.add(how.name(i))
        return [[(part.words, part.answer or "") for part in of] for of in parts]

    def _pieces(
        self, words: Words, form: Callable[[Words], str], how: Settings, i: int
    ) -> list[Words]:
        """Cuts a sentence into pieces whose text fits, as few as may be; one piece if it does."""
        if how.overlength != "window":
            return [words]
        limit, _ = self.lengths

        def fits(piece: Words) -> bool:
            return len(self.codec.encode(form(piece))) < limit

        out: list[Words] = []
        rest = words
        while rest and not fits(rest):
            low, high = 0, len(rest)  # the first `low` words fit, the first `high` do not
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if fits(rest[:middle]) else (low, middle)
            if not low:
                raise UserError(
                    f"{how.name(i)} has the word '{rest[0][:40]}', which alone is more than the "
                    f"{limit} tokens that the model reads (DataConfig.inputs_length): raise that "
                    "length, or have it cut (--overlength=truncate)."
                )
            out.append(rest[:low])
            rest = rest[low:]
        return [*out, rest] if rest else out


def kinds_for(data: "DataConfig") -> dict[str, Kind]:
    """The kinds by what a model is asked for (`tag`): the run's own, or else the usual ones.

    Where a run has several of one name, that which asks in the usual words comes first.
    """
    usual: dict[str, Kind] = {}
    for name in registry.KINDS:
        kind = kind_of(name)
        usual.setdefault(kind.task, kind)
    out = dict(usual)
    own = [kind_of(task.kind) for task in data.tasks]
    for task in dict.fromkeys(kind.task for kind in own):
        several = [kind for kind in own if kind.task == task]
        known = usual.get(task, several[0])
        worded = [k for k in several if getattr(k, "prefix", "") == getattr(known, "prefix", "")]
        out[task] = (worded or several)[0]
    out.pop("generate")
    return out | {"generate": kind_of(registry.OWN_FILES)}  # texts as they stand, and last


def codec_of(run: "RunConfig", vocabulary: "Vocabulary") -> "Codec":
    """How the run's texts are read and written: with sentinels where it was trained on them."""
    from jaxlt.data.objectives.build import build_objective
    from jaxlt.data.objectives.objectives import span_counts
    from jaxlt.data.vocabulary.sentinels import SentinelText

    if run.data.objective != "span_corruption":
        return vocabulary
    window = build_objective(run.data, vocabulary).window
    trained_on = span_counts(window, run.data.noise_density, run.data.span)[1]
    return SentinelText(vocabulary, max(trained_on, 10))
