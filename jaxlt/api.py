"""A trained run as a Python object, for notebooks and scripts.

import jaxlt
model = jaxlt.load("runs/task", modules="lang=swh_Latn", library="library")
model.tag([["Habari", "yako", "?"]])
model.classify(["Nimefurahi sana"], labels=["positive", "negative"])
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.data import text_forms
from jaxlt.data.readers.iob2 import Span, Tagged
from jaxlt.data.text.words import check_words
from jaxlt.errors import UserError, nearest
from jaxlt.identity import first_name

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.asking import Asker, Routes, Settings
    from jaxlt.inference.head_asking import Labeller
    from jaxlt.inference.predictor import Predictor

Names = str | Sequence[str] | None  # a language for all, or one for each
Words = Sequence[str]
_ROWS = 32  # scored together


@dataclasses.dataclass(frozen=True)
class Model:
    """What `load` opens. Answers come in the order of what is asked.

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
        self,
        sentences: Iterable[Words],
        language: Names = None,
        target: Names = None,
        **settings: Any,
    ) -> list[tuple[str, ...]]:
        """Parts of speech: word lists in, a tuple of as many tags out for each."""
        given = _sentences(sentences)
        return self._tag(given, *self._how(len(given), language, target, settings))

    def parse(
        self,
        sentences: Iterable[Words],
        language: Names = None,
        target: Names = None,
        **settings: Any,
    ) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
        """Dependency trees: word lists in, (heads, relations) out for each; 0 is the root."""
        given = _sentences(sentences)
        return self._parse(given, *self._how(len(given), language, target, settings))

    def entities(
        self,
        sentences: Iterable[Words],
        language: Names = None,
        target: Names = None,
        **settings: Any,
    ) -> list[tuple[Span, ...]]:
        """Named entities: word lists in, (start, end, label) of each entity out for each."""
        given = _sentences(sentences)
        return self._entities(given, *self._how(len(given), language, target, settings))

    def classify(
        self, texts: Iterable[str], language: Names = None, target: Names = None, **settings: Any
    ) -> list[Any]:
        """Texts in, the name of each one's class out."""
        given = _texts(texts)
        routes, how = self._how(len(given), language, target, settings)
        return _best(self._classify(given, routes, how), how)

    def pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        language: Names = None,
        target: Names = None,
        **settings: Any,
    ) -> list[Any]:
        """(premise, hypothesis) in, the name of each pair's class out."""
        given = _twos(pairs, "(premise, hypothesis)")
        routes, how = self._how(len(given), language, target, settings)
        return _best(self._pairs(given, routes, how), how)

    def answer(
        self,
        questions: Iterable[tuple[str, str]],
        language: Names = None,
        target: Names = None,
        **settings: Any,
    ) -> list[Any]:
        """(question, context) in, the text of each answer out."""
        given = _twos(questions, "(question, context)")
        routes, how = self._how(len(given), language, target, settings)
        return _best(self._answer(given, routes, how), how)

    def translate(
        self, texts: Iterable[str], target: Names, language: Names = None, **settings: Any
    ) -> list[Any]:
        """Texts in, their translations into `target` out, by the tag that the run trained with."""
        given = _texts(texts)
        if target is None:
            raise UserError("Translation is into a language: give its name as `target`.")
        routes, how = self._how(len(given), language, target, settings)
        names = [self._known(name) for name in _each(target, len(given), "target")]
        for i, name in enumerate(names):
            if not name:
                raise UserError(f"{how.name(i)} says no language to translate into (--target).")
        return _best(self._translate(given, names, routes, how), how)

    def generate(
        self, texts: Iterable[str], language: Names = None, target: Names = None, **settings: Any
    ) -> list[Any]:
        """Texts in as they stand, what the model writes out; greedy unless told otherwise."""
        given = _texts(texts)
        routes, how = self._how(len(given), language, target, settings)
        return _best(self._write(given, routes, how), how)

    def score(
        self, pairs: Iterable[tuple[str, str]], language: Names = None, target: Names = None
    ) -> list[float]:
        """Log-probability (nats) of each target text given its input."""
        given = _twos(pairs, "(input, target)")
        routes, _ = self._how(len(given), language, target, {})
        out: list[float] = []
        for start in range(0, len(given), _ROWS):
            some = range(start, min(start + _ROWS, len(given)))
            out += self._scores([given[i] for i in some], routes.of(some), start)
        return out

    # One method a task takes what is asked, routes and settings, and returns its answers; of text
    # it is a tuple each, best first.

    def _tag(
        self, sentences: Sequence[Words], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        if self._heads:
            return self._heads.tags(sentences, routes, how)

        def form(words: Words) -> str:
            return f"{self._prefix}: {text_forms.words_text(words, self._space)}"

        parts = self._asker.by_words(sentences, form, routes, how)
        return [
            tuple(chain.from_iterable(text_forms.tags_from(a, len(w)) for w, a in of))
            for of in parts
        ]

    def _parse(
        self, sentences: Sequence[Words], routes: "Routes", how: "Settings"
    ) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
        if self._heads:
            return self._heads.trees(sentences, routes, how)
        _check_free(how, "parse")
        asked = [f"parse: {text_forms.words_text(words, self._space)}" for words in sentences]
        written = self._asker.write(asked, routes, how, whole=False)
        for i, one in enumerate(written):
            if one.unfinished:
                how.notes.unfinished.add(how.name(i))
        return [
            as_tree(*text_forms.arcs_from(one.answers[0], len(words)))
            for one, words in zip(written, sentences, strict=True)
        ]

    def _entities(
        self, sentences: Sequence[Words], routes: "Routes", how: "Settings"
    ) -> list[tuple[Span, ...]]:
        if self._heads:
            return self._heads.entities(sentences, routes, how)

        def form(words: Words) -> str:
            return text_forms.entities(Tagged(tuple(words), ("O",) * len(words)))[0]

        _check_free(how, "entities")
        out = []
        for parts in self._asker.by_words(sentences, form, routes, how):
            found: list[Span] = []
            start = 0
            for words, answer in parts:
                spans = text_forms.entities_from(answer, words)
                found += [Span(start + a, start + b, label) for a, b, label in spans]
                start += len(words)
            out.append(tuple(found))
        return out

    def _classify(
        self, texts: Sequence[str], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        if self._heads:
            return self._heads.classes(texts, routes, how)
        return self._write([text_forms.topic(text, "")[0] for text in texts], routes, how, False)

    def _pairs(
        self, pairs: Sequence[tuple[str, str]], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        if self._heads:
            return self._heads.pairs(pairs, routes, how)
        said = {text_forms.inference("", "", label)[1]: label for label in how.labels}
        asked = [text_forms.inference(premise, hypothesis, "")[0] for premise, hypothesis in pairs]
        own = dataclasses.replace(how, labels=tuple(said))
        found = self._write(asked, routes, own, False)
        return [tuple(said.get(answer, answer) for answer in answers) for answers in found]

    def _answer(
        self, questions: Sequence[tuple[str, str]], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        if self._heads:
            return self._heads.answers(questions, routes, how)
        asked = [text_forms.question(asked, context, "")[0] for asked, context in questions]
        return self._write(asked, routes, how, False)

    def _translate(
        self, texts: Sequence[str], targets: Sequence[str], routes: "Routes", how: "Settings"
    ) -> list[tuple[str, ...]]:
        tag = self.run.data.tag
        asked = [
            text_forms.translation(text, "", target, tag)[0]
            for text, target in zip(texts, targets, strict=True)
        ]
        return self._write(asked, routes, how)

    def _write(
        self, texts: Sequence[str], routes: "Routes", how: "Settings", whole: bool = True
    ) -> list[tuple[str, ...]]:
        return [one.answers for one in self._asker.write(texts, routes, how, whole=whole)]

    def _scores(
        self, pairs: Sequence[tuple[str, str]], routes: "Routes", first: int
    ) -> list[float]:
        from jaxlt.config import derived
        from jaxlt.inference.predictor import encode

        inputs, targets = derived.lengths(self.run)
        codec = self._asker.codec
        sides = [
            [encode(codec, t, limit, what=f"Pair {first + i}")[0] for i, t in enumerate(of)]
            for of, limit in zip(zip(*pairs, strict=True), (inputs, targets), strict=True)
        ]
        source, target = (
            _padded(rows, n) for rows, n in zip(sides, (inputs, targets), strict=True)
        )
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
    def _heads(self) -> "Labeller | None":
        """The model as one whose heads label, where it has any."""
        from jaxlt.inference.head_asking import Labeller

        given = self.run, self.predictor, self.vocabulary
        return Labeller(*given) if self.predictor.config.heads else None

    @functools.cached_property
    def _asker(self) -> "Asker":
        """The model as one that writes text."""
        from jaxlt.inference.asking import Asker, codec_of

        if self._heads:
            heads = ", ".join(head.name for head in self.predictor.config.heads)
            raise UserError(
                f"This model writes no text: it has heads that label ({heads}). Ask it for what "
                "they answer (--task; tag, parse, entities, classify, pairs or answer in Python)."
            )
        return Asker(self.run, self.predictor, codec_of(self.run, self.vocabulary))

    @functools.cached_property
    def _space(self) -> str:
        """What stood for a space within a word where the run was trained."""
        return text_forms.space_of(self.run.data.rules)

    @functools.cached_property
    def _prefix(self) -> str:
        """What a run that tags words was trained to be asked: parts of speech, or languages."""
        kinds = {task.kind for task in self.run.data.tasks}
        tagging = {"tagging", "synthetic_tagging"}
        return "languages" if "synthetic_mixed" in kinds and not kinds & tagging else "pos"

    def _how(
        self, count: int, language: Names, target: Names, settings: dict[str, Any]
    ) -> "tuple[Routes, Settings]":
        """The routes of `count` inputs, and how they are answered."""
        from jaxlt.inference.asking import Routes, Settings

        known = [field.name for field in dataclasses.fields(Settings)]
        renamed = {first_name(field): field.name for field in dataclasses.fields(Settings)}
        settings = {renamed.get(name, name): value for name, value in settings.items()}
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
        self, names: Names, count: int, what: str, key: str, how: "Settings"
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

    def _known(self, name: str) -> str:
        """The name that the run has for a language, by whatever code it is meant."""
        languages = self.predictor.languages
        code = name if name in languages else _code_of(name)
        return code if code in languages else name


def _sentences(given: Iterable[Words]) -> list[Words]:
    """Sentences as they were given, each checked to be a list of words."""
    if isinstance(given, str):
        check_words(given, "What is asked")
    sentences = list(given)
    for i, sentence in enumerate(sentences):
        check_words(sentence, f"Sentence {i}")
    return sentences


def _texts(given: Iterable[str]) -> list[str]:
    """Texts as they were given, each checked to be one."""
    if isinstance(given, str):
        raise UserError(f"Texts are a list, also of one: give [{given[:60]!r}].")
    texts = list(given)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"Text {i} is no text but {text!r:.60}.")
    return texts


def _twos(given: Iterable[tuple[str, str]], what: str) -> list[tuple[str, str]]:
    """Pairs of texts as they were given, each checked to be one."""
    pairs = [] if isinstance(given, str) else list(given)
    for i, pair in enumerate(pairs):
        two = not isinstance(pair, str) and [type(text) for text in pair] == [str, str]
        if not two:
            raise UserError(f"Pair {i} is of two texts, {what}, not {pair!r:.60}.")
    if isinstance(given, str):
        raise UserError(f"What is asked is a list of pairs, {what}, not the text {given[:60]!r}.")
    return pairs


def as_tree(
    heads: Sequence[int], relations: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
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
    said = (
        "root" if not head else "dep" if relation == "root" else relation
        for head, relation in zip(tree, relations, strict=True)
    )
    return tuple(tree), tuple(said)


def _check_free(how: "Settings", task: str) -> None:
    """Raises UserError for labels where an answer is made of more than them."""
    if how.labels:
        raise UserError(
            f"Labels are what a tag, a class or a text may be: answers to '{task}' are not among "
            "some labels. Leave them out, or ask for it alone."
        )


@functools.lru_cache(1024)
def _code_of(name: str) -> str:
    from jaxlt.data.sources.corpora import Codes

    return Codes().of(name)


def _best(answers: list[tuple[str, ...]], how: "Settings") -> list[Any]:
    """The first of each, or all of them where several were asked for."""
    return answers if how.decoding.returns > 1 else [each[0] for each in answers]


def _each(names: str | Sequence[str], count: int, what: str) -> Sequence[str]:
    """A name for each of `count` inputs."""
    if isinstance(names, str):
        return [names] * count
    if len(names) != count:
        raise UserError(f"`{what}` has {len(names)} names for {count} inputs.")
    return names


def _padded(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    out = np.zeros((len(rows), width), np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def load(
    workdir: str,
    step: int | str | None = None,
    modules: str | None = None,
    library: str | None = None,
    force_modules: bool = False,
) -> Model:
    """Opens the run in a workdir: its newest checkpoint, that of a step, or the 'best'.

    modules: of a library, as `jaxlt infer --modules` takes them: 'lang=swh_Latn,task=pos'.
    """
    from jaxlt.inference import trained

    run, step = trained.find_run(str(workdir), step)
    return Model(run, *trained.open_model(run, step, modules, library, force_modules))
