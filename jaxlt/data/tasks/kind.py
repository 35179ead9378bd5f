"""What a kind of task is: one class a file, that says all the rest of the house asks about it.

    kind = kind_of("tagging")                             # or "my_kinds:Stance", of a user's file
    words = ("the", "AP", "story")
    kind.inputs(words)                                    # 'pos: the AP story'
    kind.read("DET PROPN NOUN", words)                    # ('DET', 'PROPN', 'NOUN')
    kind.example("pos: the AP story", "DET PROPN NOUN")   # what a head sees of it
    kind.streams(reading)                                 # the examples of its files, by language

A kind of one's own is a subclass in a file of one's own; docs/extending.md has one. What is the
same for all kinds (splits, caches, batches, asking a model, tables of scores) is elsewhere.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from jaxlt.data import text_forms
from jaxlt.data.head_example import WORDS, HeadExample
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.sources.splits import NAMES
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks import baselines
from jaxlt.data.tasks.baselines import Learner
from jaxlt.data.tasks.registry import KINDS, class_of
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError


class Wording(NamedTuple):
    """How a run words its inputs: what stands for a space within a word, the tag of a language."""

    space: str = text_forms.INNER
    tag: str = "<2{target}> "


USUAL = Wording()


@dataclass(frozen=True)
class Reading:
    """What a task's examples are read from, and how: `name` is its mixture's ('run.tagging')."""

    name: str
    task: TaskConfig
    config: ReadConfig

    @property
    def wording(self) -> Wording:
        """How inputs are worded."""
        return Wording(text_forms.space_of(self.config.rules), self.config.tag)


@dataclass(frozen=True)
class Stream:
    """Examples of one task: its name's last part is the language, or source:target of a pair.

    examples: split -> (inputs, targets), or of running text its documents (bytes). identity: JSON
    of all that decides them. for_heads: what heads learn from, as `examples` or told more.
    """

    name: str
    examples: Callable[[str], Iterable[Any]]
    identity: Callable[[], Any]
    splits: tuple[str, ...] = NAMES
    for_heads: Callable[[str], Iterable[Form]] | None = None


class Kind:
    """A kind of task; as it stands that of a user's own files of inputs<TAB>targets."""

    # What its config takes beside kind, name, languages and sources (or factory).
    takes: ClassVar[tuple[str, ...]] = ()
    made: ClassVar[bool] = False  # its languages are made by a factory, without files
    running: ClassVar[bool] = False  # examples are running text, under any of its objectives
    denoised: ClassVar[bool] = False  # examples are running text, asked for as pairs
    shape: ClassVar[str] = (
        ""  # what a head sees (jaxlt.data.head_example), "" where answers are free
    )
    # Scores, the one that matters most first; those that go by the language of the answers, or by
    # a benchmark's rules, have settings of their own.
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "chrf++")
    by_language: ClassVar[bool] = False
    spelled: ClassVar[bool] = False  # targets are text, so that bits per byte mean something
    sentences: ClassVar[bool] = False  # answers are sentences, whose language can be told
    blind: ClassVar[str] = "commonest_answer"  # the baseline that knows no input; its score: chance
    # What `infer` fills in, from which columns of a table (of several names the first that is
    # there), in which formats beside tables.
    task: ClassVar[str] = "generate"
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text",),)
    formats: ClassVar[tuple[str, ...]] = ("text",)
    nothing: ClassVar[Any] = ""  # the answer where there is nothing to ask about
    # What labels that constrain an answer are: the answer, each word's, or no such thing.
    labels: ClassVar[Literal["answer", "word", "none"]] = "answer"

    def __init__(self, name: str):
        self.name = name

    def streams(self, reading: Reading) -> list[Stream]:
        """Returns the examples of what a task reads, a stream a corpus and language."""
        raise UserError(f"'{self.name}' has no files of its own: DataConfig.sources name them.")

    def form(self, record: Any, wording: Wording) -> Form:
        """Returns (inputs, targets) of a record."""
        inputs, targets = record
        return inputs, targets

    def forms(self, record: Any, reading: Reading, split: str) -> Iterable[Form]:
        """Yields what a split has of a record: once, its form."""
        del split  # all are alike
        yield self.form(record, reading.wording)

    def stream(
        self,
        reading: Reading,
        name: str,
        records: Callable[[str], Iterable[Any]],
        identity: Callable[[], Any],
        splits: tuple[str, ...] = NAMES,
    ) -> Stream:
        """Returns the stream of what a task has of the records of each split."""

        def forms(make: Callable[..., Iterable[Form]], split: str) -> Iterator[Form]:
            for record in records(split):
                yield from make(record, reading, split)

        read, for_heads = (functools.partial(forms, f) for f in (self.forms, self.head_forms))
        return Stream(name, read, identity, splits, for_heads)

    def head_forms(self, record: Any, reading: Reading, split: str) -> Iterable[Form]:
        """Yields what a head learns from a record of a split: its forms, or some that say more."""
        return self.forms(record, reading, split)

    # Asking a model, and what comes back.

    def inputs(self, asked: Any, wording: Wording = USUAL) -> str:
        """Returns the inputs that ask of words, a text, two texts, or (text, target language)."""
        return str(asked)

    def read(self, answer: str, asked: Any) -> Any:
        """Reads an answer to what was asked back from its text form."""
        return answer

    def label(self, label: str) -> str:
        """Returns a label as the text form spells it."""
        return label

    def filled(self, answer: Any) -> dict[int, Sequence[str]]:
        """Returns the columns of CoNLL-U [words] that an answer fills in, by place from 0."""
        return {}

    def cell(self, answer: Any, asked: Any) -> Any:
        """Returns an answer as JSON has it in a table."""
        return list(answer) if isinstance(answer, tuple) else answer

    # What a head sees, and says.

    def asked(self, one: Any) -> HeadExample:
        """Returns what a head is asked: the words or texts themselves, as `inputs` takes them."""
        if self.shape in WORDS:
            return HeadExample(self.shape, tuple(one))
        return self.example(self.inputs(one), "")

    def example(self, inputs: str, targets: str) -> HeadExample:
        """Reads a form for heads; without targets what is unknown is empty."""
        raise no_head(self.name)

    def answer(self, example: HeadExample, labels: Sequence[str], heads: Sequence[int] = ()) -> str:
        """Writes what a head says of an example in the text form; labels: [the class or answer]."""
        del example, heads
        return labels[0]

    # Judging.

    def judged(
        self, examples: Sequence[tuple[str, str, str]]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """Returns (predictions, references) as metrics take them, of (inputs, answer, target)."""
        return [answer for _, answer, _ in examples], [target for *_, target in examples]

    def learner(self, heads: bool) -> Learner:
        """Returns what gives trivial answers; heads: it learns from what they see."""
        del heads  # both learn from the text form
        return baselines.UsualOrCopied("commonest_answer")


def kind_of(name: str) -> Kind:
    """Returns the kind of a name; one that is not there is a UserError with the nearest."""
    kind: Kind = class_of(name)(name)
    return kind


def head_kind(name: str) -> Kind:
    """Returns a kind that heads are for; another is a UserError."""
    kind = kind_of(name)
    if not kind.shape:
        raise no_head(name)
    return kind


def no_head(name: str) -> UserError:
    """Returns what is wrong with a head for a kind whose answers are free."""
    return UserError(
        f"There is no head for tasks of the kind '{name}': its answers are free text. Heads are "
        f"for {', '.join(known for known in KINDS if class_of(known).shape)}; for others set "
        "DataConfig.objective = 'text_to_text'."
    )
