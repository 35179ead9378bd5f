"""A trained run as an object that is asked: tags, trees, entities, classes, answers, scores.

    model = Model(run, *open_model(run))
    model.tag([["Habari", "yako", "?"]])                     # [("NOUN", "PRON", "PUNCT")]
    model.ask("classify", ["Nimefurahi sana"], labels=("positive", "negative"))

A model that writes text is asked in a kind's text form, and its answer is read back; one with heads
labels what the form says. What is asked for by a name (`tag`) is a kind's `task`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt import progress
from jaxlt.config import derived
from jaxlt.data import text_forms
from jaxlt.data.head_example import HeadExample
from jaxlt.data.readers.iob2 import Span, Tagged
from jaxlt.data.tasks.kind import Kind, Wording
from jaxlt.data.text.words import check_words
from jaxlt.errors import UserError, nearest
from jaxlt.identity import first_name
from jaxlt.inference.asking import BY_WORD, Asker, Routes, Settings, codec_of, kinds_for

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.labelling import Answer
    from jaxlt.inference.predictor import Predictor

Names = str | Sequence[str] | None  # a language for all, or one for each
Words = Sequence[str]
Sentences = Iterable[Words]
Pairs = Iterable[tuple[str, str]]
Tree = tuple[tuple[int, ...], tuple[str, ...]]  # heads and relations
_ROWS = 32  # scored together
_DOES = {
    "tags": "tags words",
    "tree": "parses",
    "entities": "finds entities",
    "class": "classifies texts",
    "pair": "classifies pairs",
    "span": "answers questions",
}


@dataclasses.dataclass(frozen=True)
class Model:
    """What `jaxlt.load` opens. Answers come in the order of what is asked.

    A word list is a sentence that is tokenised already. `language` is that of the texts (a name for
    all, or one for each), needed where modules go by it and no `modules` of one language were given
    to `load`; `target` that of the answers. Every method but `score` takes the settings of
    jaxlt.inference.asking.Settings by name: labels, force, length, overlength, batch_size,
    decoding.
    """

    run: "RunConfig"
    predictor: "Predictor"
    vocabulary: "Vocabulary"

    def tag(
        self, sentences: Sentences, language: Names = None, target: Names = None, **settings: Any
    ) -> list[tuple[str, ...]]:
        """Parts of speech: word lists in, a tuple of as many tags out for each."""
        return self.ask("tag", sentences, language, target, **settings)

    def parse(
        self, sentences: Sentences, language: Names = None, target: Names = None, **settings: Any
    ) -> list[Tree]:
        """Dependency trees: word lists in, (heads, relations) out for each; 0 is the root."""
        return self.ask("parse", sentences, language, target, **settings)

    def entities(
        self, sentences: Sentences, language: Names = None, target: Names = None, **settings: Any
    ) -> list[tuple[Span, ...]]:
        """Named entities: word lists in, (start, end, label) of each entity out for each."""
        return self.ask("entities", sentences, language, target, **settings)

    def classify(
        self, texts: Iterable[str], language: Names = None, target: Names = None, **settings: Any
    ) -> list[Any]:
        """Texts in, the name of each one's class out."""
        return self.ask("classify", texts, language, target, **settings)

    def pairs(
        self, pairs: Pairs, language: Names = None, target: Names = None, **settings: Any
    ) -> list[Any]:
        """(premise, hypothesis) in, the name of each pair's class out."""
        return self.ask("pairs", pairs, language, target, **settings)

    def answer(
        self, questions: Pairs, language: Names = None, target: Names = None, **settings: Any
    ) -> list[Any]:
        """(question, context) in, the text of each answer out."""
        return self.ask("questions", questions, language, target, **settings)

    def translate(
        self, texts: Iterable[str], target: Names, language: Names = None, **settings: Any
    ) -> list[Any]:
        """Texts in, their translations into `target` out, by the tag that the run trained with."""
        return self.ask("translate", texts, language, target, **settings)

    def generate(
        self, texts: Iterable[str], language: Names = None, target: Names = None, **settings: Any
    ) -> list[Any]:
        """Texts in as they stand, what the model writes out; greedy unless told otherwise."""
        return self.ask("generate", texts, language, target, **settings)

    def ask(
        self,
        task: str,
        asked: Iterable[Any],
        language: Names = None,
        target: Names = None,
        **settings: Any,
    ) -> list[Any]:
        """Asks for what a kind of task is called by (`tag`, `classify`, ...); see the methods.

        Of several answers to a text (DecodingConfig.returns) each is a tuple, best first.
        """
        if task not in self.kinds:
            raise UserError(
                f"There is nothing to ask for by the name '{task}'.{nearest(task, self.kinds)} "
                f"There are {', '.join(self.kinds)}."
            )
        kind = self.kinds[task]
        each = _checked(kind, asked)
        routes, how = self._how(len(each), language, target, settings)
        if task == "translate":
            if target is None:
                raise UserError("Translation is into a language: give its name as `target`.")
            each = list(zip(each, self._targets(target, len(each), how), strict=True))
        answer = self._labelled if self.predictor.config.heads and kind.shape else self._written
        answers = answer(kind, each, routes, how)
        if kind.shape in BY_WORD or how.decoding.returns > 1:
            return answers
        return [best[0] for best in answers]

    def score(self, pairs: Pairs, language: Names = None, target: Names = None) -> list[float]:
        """Log-probability (nats) of each target text, given its input."""
        each = _twos(pairs, "(input, target)")
        routes, _ = self._how(len(each), language, target, {})
        out: list[float] = []
        for start in range(0, len(each), _ROWS):
            some = range(start, min(start + _ROWS, len(each)))
            out += self._scores([each[i] for i in some], routes.of(some), start)
        return out

    @functools.cached_property
    def kinds(self) -> Mapping[str, Kind]:
        """What the model can be asked for, by name, each with the kind that words it."""
        return kinds_for(self.run.data)

    def _written(
        self, kind: Kind, asked: Sequence[Any], routes: Routes, how: Settings
    ) -> list[Any]:
        """What a model that writes text answers, read back from a kind's text form."""
        asker = self._asker
        if how.labels and kind.labels == "none":
            raise UserError(
                "Labels are what a tag, a class or a text may be: answers to "
                f"'{kind.task}' are not among some labels. Leave them out, or ask for it alone."
            )
        data = self.run.data
        wording = Wording(text_forms.space_of(data.rules), data.tag)
        form = functools.partial(kind.inputs, wording=wording)
        if join := _JOINED.get(kind.shape):
            parts = asker.by_words(asked, form, routes, how)
            return [join([(words, kind.read(text, words)) for words, text in of]) for of in parts]
        names = {kind.label(label): label for label in how.labels}
        own = dataclasses.replace(how, labels=tuple(names))
        written = asker.write(list(map(form, asked)), routes, own, with_forced=not kind.shape)
        if kind.shape == "tree":
            for i, one in enumerate(written):
                if one.unfinished:
                    how.notes.unfinished.add(how.name(i))
        out = []
        for one, each in zip(written, asked, strict=True):
            texts = [names.get(text, text) for text in one.answers]
            answers = tuple(kind.read(text, each) for text in texts)
            out.append(as_tree(*answers[0]) if kind.shape == "tree" else answers)
        return out

    def _labelled(
        self, kind: Kind, asked: Sequence[Any], routes: Routes, how: Settings
    ) -> list[Any]:
        """What the heads of a model say, without any text between."""
        from jaxlt.inference.answers import objective_of
        from jaxlt.inference.labelling import label

        if not asked:
            return []
        if how.labels or how.force:
            raise UserError(
                "Labels and forced beginnings are for models that write text: this one's heads "
                "have the labels that they learnt."
            )
        if how.overlength == "truncate":
            raise UserError(
                "Heads do not cut what is longer than a row: --overlength=window reads it in parts."
            )
        overlength: Any = how.overlength
        data = dataclasses.replace(self.run.data, overlength=overlength)
        run = dataclasses.replace(self.run, data=data)
        objective = objective_of(run, self.vocabulary, self.predictor.inventory)
        heads = [task.name for task in objective.tasks if task.shape == kind.shape]
        if not heads:
            there = ", ".join(f"{task.name} ({_DOES[task.shape]})" for task in objective.tasks)
            raise UserError(f"No head of this model {_DOES[kind.shape]}: its heads are {there}.")
        examples = list(map(kind.asked, asked))
        answers = label(
            self.predictor,
            objective,
            heads[0],
            examples,
            languages=routes.languages,
            batch_size=how.batch_size,
            called=how.name,
        )
        return [_value(example, one) for example, one in zip(examples, answers, strict=True)]

    def _scores(self, pairs: Sequence[tuple[str, str]], routes: Routes, first: int) -> list[float]:
        from jaxlt.inference.predictor import encode, filled

        inputs, targets = derived.lengths(self.run)
        codec = self._asker.codec
        sides = [
            [encode(codec, t, limit, what=f"Pair {first + i}")[0] for i, t in enumerate(of)]
            for of, limit in zip(zip(*pairs, strict=True), (inputs, targets), strict=True)
        ]
        source, target = map(filled, sides, (inputs, targets))
        batch = {
            "encoder_input_tokens": source,
            "decoder_input_tokens": np.pad(target[:, :-1], ((0, 0), (1, 0))),
            "decoder_target_tokens": target,
            "decoder_loss_weights": (target > 0).astype(np.float32),
        }
        for name, ids in zip(("language", "target_language"), routes, strict=True):
            if ids is not None:
                batch[name] = np.array(ids, np.int32)
        return (-self.predictor.score(batch)["row_nll"]).tolist()

    @functools.cached_property
    def _asker(self) -> Asker:
        """The model as one that writes text."""
        if self.predictor.config.heads:
            heads = ", ".join(head.name for head in self.predictor.config.heads)
            raise UserError(
                f"This model writes no text: it has heads that label ({heads}). Ask it for what "
                "they answer (--task; tag, parse, entities, classify, pairs or answer in Python)."
            )
        return Asker(self.run, self.predictor, codec_of(self.run, self.vocabulary))

    def _how(
        self, count: int, language: Names, target: Names, settings: dict[str, Any]
    ) -> tuple[Routes, Settings]:
        """The routes of `count` inputs, and how they are answered."""
        known = [field.name for field in dataclasses.fields(Settings)]
        renamed = {first_name(field): field.name for field in dataclasses.fields(Settings)}
        for name in [name for name in settings if renamed.get(name, name) != name]:
            now = renamed[name]
            if now in settings:
                raise UserError(f"`{name}` and `{now}` are one setting: give `{now}` alone.")
            _say_renamed(name, now)
            settings[now] = settings.pop(name)
        for name in settings:
            if name not in known:
                raise UserError(
                    f"There is no setting '{name}' of an answer.{nearest(name, known)} There are "
                    f"{', '.join(known)}."
                )
        how = Settings(**settings)
        ids = (
            self._ids(names, count, what, key, how)
            for names, what, key in ((language, "language", "source"), (target, "target", "target"))
        )
        return Routes(*ids), how

    def _ids(
        self, names: Names, count: int, what: str, key: str, how: Settings
    ) -> list[int] | None:
        """The ids of languages by name; None where there are none, and nothing goes by them."""
        known = ", ".join(self.predictor.languages)
        routed = self.predictor.routed_by(key)
        if names is None:
            if routed:
                whose = "language" if key == "source" else "the language of the output"
                raise UserError(
                    f"This model's modules go by {whose}: give --{what} (in Python, `{what}`), one "
                    f"of {known}."
                )
            return None
        if not routed and (key == "target" or not isinstance(names, str)):
            return None  # only the tag of a translation goes by them
        out = []
        for i, name in enumerate(_each(names, count, what)):
            if not name:
                raise UserError(
                    f"{how.name(i)} says no {what}, and the model's modules go by it: give "
                    f"--{what} for all that do not, one of {known}."
                )
            out.append(self.predictor.language_id(self._known(name)))
        return out

    def _targets(self, target: str | Sequence[str], count: int, how: Settings) -> list[str]:
        """The languages that `count` texts are translated into, by the run's names for them."""
        names = [self._known(name) for name in _each(target, count, "target")]
        for i, name in enumerate(names):
            if not name:
                raise UserError(f"{how.name(i)} says no language to translate into (--target).")
        return names

    def _known(self, name: str) -> str:
        """The name that the run has for a language, by whatever code it is meant."""
        from jaxlt.data.sources.corpora import Codes

        languages = self.predictor.languages
        code = name if name in languages else Codes().of(name)
        return code if code in languages else name


@functools.cache
def _say_renamed(old: str, now: str) -> None:
    """Says that a setting has another name now, once however often it is used."""
    progress.say(f"The setting `{old}` is called `{now}` now.")


def _checked(kind: Kind, asked: Iterable[Any]) -> list[Any]:
    """What is asked of a kind, each checked to be what its columns hold."""
    if kind.shape in BY_WORD:
        return _sentences(asked)
    if len(kind.columns) == 2:
        return _twos(asked, f"({', '.join(names[0] for names in kind.columns)})")
    return _texts(asked)


def _sentences(asked: Sentences) -> list[Words]:
    """Sentences, each checked to be a list of words."""
    if isinstance(asked, str):
        check_words(asked, "What is asked")
    sentences = list(asked)
    for i, sentence in enumerate(sentences):
        check_words(sentence, f"Sentence {i}")
    return sentences


def _texts(asked: Iterable[str]) -> list[str]:
    """Texts, each checked to be one."""
    if isinstance(asked, str):
        raise UserError(f"Texts are a list, also of one: give [{asked[:60]!r}].")
    texts = list(asked)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"Text {i} is no text but {text!r:.60}.")
    return texts


def _twos(asked: Pairs, what: str) -> list[tuple[str, str]]:
    """Pairs of texts, each checked to be one."""
    pairs = [] if isinstance(asked, str) else list(asked)
    for i, pair in enumerate(pairs):
        two = not isinstance(pair, str) and [type(text) for text in pair] == [str, str]
        if not two:
            raise UserError(f"Pair {i} is of two texts, {what}, not {pair!r:.60}.")
    if isinstance(asked, str):
        raise UserError(f"What is asked is a list of pairs, {what}, not the text {asked[:60]!r}.")
    return pairs


def _value(example: HeadExample, answer: "Answer") -> Any:
    """An answer of heads as the methods give it."""
    if example.shape == "tree":
        return answer.heads, answer.labels
    if example.shape == "entities":
        return Tagged(example.words, answer.labels).spans()
    return answer.labels


def _spans(parts: Sequence[tuple[Words, Sequence[Span]]]) -> tuple[Span, ...]:
    """The entities of the pieces of a sentence, by their places in all of it."""
    out: list[Span] = []
    start = 0
    for words, spans in parts:
        out += [Span(start + a, start + b, label) for a, b, label in spans]
        start += len(words)
    return tuple(out)


# Answers to the pieces of a sentence -> that to all of it, by shape; others cannot be joined.
_JOINED: Mapping[str, Callable[[Sequence[tuple[Words, Any]]], Any]] = {
    "tags": lambda parts: tuple(chain.from_iterable(tags for _, tags in parts)),
    "entities": _spans,
}


def as_tree(heads: Sequence[int], relations: Sequence[str]) -> Tree:
    """Makes heads [n] a tree with one word on the root, as few of them changed as can be.

    The root's relation is 'root', and nobody else's; whoever loses one has 'dep'.
    """
    from jaxlt.models.trees import best_trees

    count = len(heads)
    if not count:
        return (), ()
    scores = np.zeros((1, count + 1, count + 1), np.float32)
    scores[0, list(heads), np.arange(1, count + 1)] = 1.0
    tree = best_trees(scores, np.array([count]))[0].tolist()
    labels = (
        "root" if not head else "dep" if relation == "root" else relation
        for head, relation in zip(tree, relations, strict=True)
    )
    return tuple(tree), tuple(labels)


def _each(names: str | Sequence[str], count: int, what: str) -> Sequence[str]:
    """A name for each of `count` inputs."""
    if isinstance(names, str):
        return [names] * count
    if len(names) != count:
        raise UserError(f"`{what}` has {len(names)} names for {count} inputs.")
    return names
