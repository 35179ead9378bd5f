"""Which step is best: the task's own metric, and the loss where that is flat."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.data.head_example import HeadExample
from jaxlt.data.inventory import Inventory
from jaxlt.data.labelling import Labels, Task
from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.data.vocabulary.label_units import PieceUnits
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.engine.checkpoint.checkpoints import CheckpointConfig, Checkpoints
from jaxlt.engine.evaluator import LossEvaluator
from jaxlt.engine.head_evaluator import HeadEvaluator
from jaxlt.inference.labelling import label
from jaxlt.metrics.scores import score
from jaxlt.metrics.trees import Parse, las
from jaxlt.models.biaffine import ParserConfig
from jaxlt.models.classifier import ClassifierConfig
from jaxlt.models.span_extractor import SpanConfig
from jaxlt.models.tagger import TaggerConfig
from tests.engine import jobs
from tests.inference.test_labelling import predictor_of

pytestmark = pytest.mark.usefixtures("quick_compile")


class Scripted:
    """An evaluator that finds the given (score, loss) one after the other."""

    name = "dev"

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self, program, params):
        del program, params
        return dict(zip(("score", "nll"), self.values.pop(0), strict=True))


def ended(path, *values, **more):
    chosen = {"best_metric": "dev/score", "best_mode": "max", "ties": "dev/nll"} | more
    given = jobs.small_job(steps=20, every=50, eval_every=1, patience=2, checkpoint=chosen)
    return jobs.run(given, path, evaluators=[Scripted(*values)])


def test_a_flat_score_does_not_stop_while_the_loss_falls(tmp_path):
    """No name is found at first: by span F1 alone training would end before it begins."""
    falling = [(0.0, 3.0), (0.0, 2.5), (0.0, 2.0), (0.0, 1.5), (0.4, 1.6), (0.3, 1.0), (0.4, 1.7)]
    result = ended(tmp_path / "ties", *falling)
    assert (result.ended, result.position.step, result.position.best_step) == ("patience", 7, 5)
    assert result.checkpoints.best() == 5
    result = ended(tmp_path / "alone", *falling, ties=None)
    assert (result.ended, result.position.step, result.position.best_step) == ("patience", 3, 1)


def test_a_flat_score_stops_when_the_loss_rises(tmp_path):
    result = ended(tmp_path, (0.0, 3.0), (0.0, 2.0), (0.0, 2.1), (0.0, 2.2))
    assert (result.ended, result.position.best_step, result.position.best) == ("patience", 2, 0.0)


def test_the_best_of_equal_checkpoints_has_the_least_of_ties(tmp_path):
    config = CheckpointConfig(keep=9, best_metric="f1", best_mode="max", ties="nll")
    checkpoints = Checkpoints(tmp_path, config)
    for step, f1, nll in ((1, 0.5, 3.0), (2, 0.5, 1.0), (3, 0.5, 2.0), (4, 0.4, 0.1)):
        checkpoints.save(step, {"x": np.zeros(1, np.float32)}, {}, {"f1": f1, "nll": nll})
    checkpoints.wait()
    assert checkpoints.best() == 2
    assert Checkpoints(tmp_path, dataclasses.replace(config, ties=None)).best() == 1


HEADS = (
    TaggerConfig("ner", 4, crf=True),
    TaggerConfig("pos", 2),
    ParserConfig("deps", 2, arc_dim=8, label_dim=4),
    ClassifierConfig("topic", 2),
    SpanConfig("qa"),
)
SHAPES = {"ner": "entities", "pos": "tags", "deps": "tree", "topic": "class", "qa": "span"}
NAMES = {
    "ner": ("O", "B-PER", "I-PER", "B-LOC"),
    "pos": ("NOUN", "VERB"),
    "deps": ("nsubj", "root"),
    "topic": ("sport", "science"),
}


def examples():
    rng = np.random.default_rng(1)
    for i in range(24):
        words = tuple(f"w{n}" for n in rng.integers(9, size=rng.integers(2, 6)))
        count = len(words)
        yield "ner", HeadExample("entities", words, tuple(rng.choice(NAMES["ner"], count)))
        yield "pos", HeadExample("tags", words, tuple(rng.choice(NAMES["pos"], count)))
        heads = (0, *range(1, count))
        yield "deps", HeadExample("tree", words, tuple(rng.choice(NAMES["deps"], count)), heads)
        yield (
            "topic",
            HeadExample("class", texts=(" ".join(words),), label=("sport", "science")[i % 2]),
        )
        yield "qa", HeadExample("span", texts=("w1 ?", " ".join(words)), label=words[i % count])


class Pass(ArrayBatches):
    """One pass over rows, the last batch of which is filled up with empty ones."""

    num_batches = 8


@pytest.mark.slow
def test_heads_are_scored_by_their_tasks_own_metrics():
    """What is counted on batches is what scoring each whole answer by itself says."""
    tasks = [Task(name, shape) for name, shape in SHAPES.items()]
    reader = PieceUnits(open_vocabulary(VocabularyConfig()))
    objective = Labels(tasks, reader, Inventory(NAMES), 64, 8)
    model = {"vocab_rows": 384, "decoder_layers": 0, "heads": HEADS}
    predictor = predictor_of(jobs.job(model=model).model)
    asked = list(examples())
    pieces = [piece for head, one in asked for piece in objective.pieces(head, one)]
    languages = np.arange(len(asked)) % 2
    batch = objective.batch(pieces) | {"language": languages.astype(np.int32)}
    empty = {n: np.full((8, *v.shape[1:]), -1 if n == "span" else 0) for n, v in batch.items()}
    empty |= {n: empty[n] - 1 for n in ("word_first", "word_labels", "word_heads", "label")}
    rows = {n: np.concatenate([v, empty[n]]).astype(np.int32) for n, v in batch.items()}
    source = Pass(rows, 16, languages=("aa", "bb"), shuffle=False)
    found = HeadEvaluator(source, objective)(predictor.program, predictor.params)
    plain = LossEvaluator(source)(predictor.program, predictor.params)
    assert {name: found[name] for name in plain} == plain

    own = []
    for head in SHAPES:
        for language in (0, 1):
            mine = [
                one for i, (name, one) in enumerate(asked) if name == head and i % 2 == language
            ]
            own.append(by_hand(predictor, objective, head, mine))
            name = {"ner": "span_f1", "qa": "answer_f1"}.get(head)
            if name:
                assert found[f"{name}/{'ab'[language] * 2}"] == pytest.approx(own[-1])
    assert found["score"] == pytest.approx(np.mean(own))
    assert 0 < found["score"] < 1 and 0 < found["span_f1"] < 1 and found["answer_f1"] > 0


def by_hand(predictor, objective, head, mine):
    """A head's score over some examples, of answers that are given to one after the other."""
    said = label(predictor, objective, head, mine)
    if head == "deps":
        found = [greedy(predictor, objective, one) for one in mine]
        gold = [Parse(one.words, one.heads, one.labels) for one in mine]
        return las(found, gold).total()
    if head == "ner":
        given = [answer.labels for answer in said]
        return score("span_f1", given, [one.labels for one in mine], resamples=0).value
    if head == "pos":
        given = [answer.labels for answer in said]
        return score("accuracy", given, [one.labels for one in mine], resamples=0).value
    if head == "topic":
        right = [answer.labels[0] == one.label for answer, one in zip(said, mine, strict=True)]
        return np.mean(right)
    pairs = zip(said, mine, strict=True)
    return np.mean([bytes_f1(answer.labels[0], one) for answer, one in pairs])


def bytes_f1(answer, one):
    """F1 of the bytes of an answer and of the right one, at their first places in the context."""
    context = one.texts[1]
    spans = [(context.find(text), context.find(text) + len(text)) for text in (answer, one.label)]
    (a, b), (c, d) = spans
    return 2 * max(0, min(b, d) - max(a, c)) / (b - a + d - c)


def greedy(predictor, objective, one):
    """The best arc and relation of each word by itself, from the scores of one example alone."""
    from jaxlt.models.biaffine import label_scores
    from tests.inference.test_labelling import plain

    parse = plain(predictor, objective, "deps", one)
    count = len(one.words)
    heads = jnp.argmax(parse.arcs[:, :, 1:], axis=1)
    relations = np.asarray(jnp.argmax(label_scores(parse, heads), axis=-1))[0, :count]
    names = [NAMES["deps"][i] for i in relations]
    return Parse(one.words, np.asarray(heads)[0, :count].tolist(), names)
