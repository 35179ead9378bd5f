"""What heads say of examples: what a plain pass over one says, however they are batched."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.data.head_example import HeadExample
from jaxlt.data.inventory import Inventory
from jaxlt.data.labelling import Labels, Task
from jaxlt.data.vocabulary.label_units import PieceUnits, WordUnits
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.engine.loop import program_of
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.errors import UserError
from jaxlt.inference import labelling
from jaxlt.inference.labelling import Answer, label
from jaxlt.inference.predictor import Predictor
from jaxlt.models.biaffine import ParserConfig, label_scores
from jaxlt.models.classifier import ClassifierConfig
from jaxlt.models.config import BiLSTMConfig
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.span_extractor import SpanConfig
from jaxlt.models.tagger import TaggerConfig
from jaxlt.modules.bottleneck import Pfeiffer
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.site import plug
from tests.engine import jobs
from tests.models.tree_checks import is_tree

pytestmark = pytest.mark.usefixtures("quick_compile")

HEADS = (
    TaggerConfig("pos", 6, crf=True),
    ParserConfig("deps", 5, arc_dim=8, label_dim=4),
    ClassifierConfig("topic", 4),
    SpanConfig("qa"),
)
TASKS = (
    Task("pos", "tags"),
    Task("deps", "tree"),
    Task("topic", "class"),
    Task("qa", "span"),
)
NAMES = {
    "pos": ("NOUN", "VERB", "DET"),
    "deps": ("nsubj", "root", "punct", "obj"),
    "topic": ("sport", "science"),
}
SENTENCES = [
    ("the", "dog", "barks"),
    ("a",),
    ("they", "saw", "ñandúes", "in", "the", "long", "grass", "."),
    ("no", "don", "'t"),
    tuple(f"word{i}" for i in range(11)),
]
INVENTORY = Inventory(NAMES, ("the", "dog"), tuple("thedogbarks"))


def labels(inputs_length=160, words_length=32, overlength="refuse", words=False):
    reader = PieceUnits(open_vocabulary(VocabularyConfig()))
    if words:
        reader = WordUnits(INVENTORY, 8)
    return Labels(TASKS, reader, INVENTORY, inputs_length, words_length, overlength)


def predictor_of(model, devices=1, **mesh):
    given = jobs.job()
    given = jobs.ArrayJob(**{**vars(given), "model": model, "mesh": MeshConfig(**mesh)})
    program = program_of(given, jax.devices()[:devices])
    draw = np.random.default_rng(0)
    params = {
        n: draw.normal(size=leaf.shape, scale=0.3).astype(np.float32)
        for n, leaf in describe(model).items()
    }
    placed = {n: jax.device_put(params[n], program.layout.shardings[n]) for n in params}
    return Predictor(program, placed, 0, 0, ("aa", "bb"), Fingerprint(""))


def encoder(**more):
    given = {"vocab_rows": 384, "encoder_layers": 1, "decoder_layers": 0, "heads": HEADS}
    given |= {"scan_layers": False}
    return jobs.job(model=given | more).model


@pytest.fixture(scope="module")
def predictor():
    return predictor_of(encoder())


@functools.cache
def outputs_of(config, head):
    """The compiled (params, batch) -> outputs of a head."""

    @jax.jit
    def run(params, batch):
        context = make_context(batch)
        model, nested = model_of(config), unflatten(params)
        return model.apply(nested, batch, context, only=head, method="outputs")[head]

    return run


def plain(predictor, objective, head, marked):
    """The outputs of a head on one example alone, at its full width."""
    (piece,) = objective.pieces(head, marked)
    batch = objective.batch([piece])
    return jax.device_get(outputs_of(predictor.config, head)(predictor.params, batch))


def test_tags_are_those_of_each_sentence_alone(predictor):
    objective = labels()
    asked = [HeadExample("tags", words) for words in SENTENCES]
    found = label(predictor, objective, "pos", asked, batch_size=3)
    for marked, answer in zip(asked, found, strict=True):
        tags = plain(predictor, objective, "pos", marked)
        chain, scores = tags.chain, np.asarray(tags.logits)[0, : len(marked.words), :3]
        best = max(
            itertools.product(range(3), repeat=min(len(marked.words), 6)),
            key=lambda way, c=chain, s=scores: (
                c.start[way[0]]
                + sum(s[i, y] for i, y in enumerate(way))
                + sum(c.transitions[a, b] for a, b in itertools.pairwise(way))
                + c.end[way[-1]]
            ),
        )
        if len(marked.words) <= 6:  # more ways than can be tried
            assert answer.labels == tuple(NAMES["pos"][i] for i in best)
        assert len(answer.labels) == len(marked.words) and not answer.heads


def test_trees_are_the_best_ones_with_their_relations(predictor):
    objective = labels()
    asked = [HeadExample("tree", words) for words in SENTENCES]
    found = label(predictor, objective, "deps", asked, batch_size=2)
    for marked, answer in zip(asked, found, strict=True):
        n = len(marked.words)
        assert is_tree(np.array(answer.heads))
        parse = plain(predictor, objective, "deps", marked)
        heads = np.zeros((1, parse.mask.shape[1]), np.int32)
        heads[0, :n] = answer.heads
        best = np.asarray(label_scores(parse, jnp.asarray(heads)))[0, :n, :4].argmax(-1)
        assert answer.labels == tuple(NAMES["deps"][i] for i in best)
        if n > 3:
            continue
        arcs = np.asarray(parse.arcs)[0]
        trees = [t for t in itertools.product(range(n + 1), repeat=n) if is_tree(np.array(t))]
        worth = lambda t, a=arcs: sum(a[h, d + 1] for d, h in enumerate(t))  # noqa: E731
        assert np.isclose(worth(answer.heads), max(map(worth, trees)))


def test_classes_and_answers(predictor):
    objective = labels()
    texts = ["goal!", "the atom is small", "x " * 30]
    found = label(
        predictor, objective, "topic", [HeadExample("class", texts=(text,)) for text in texts]
    )
    for text, answer in zip(texts, found, strict=True):
        logits = plain(predictor, objective, "topic", HeadExample("class", texts=(text,)))
        assert answer == Answer((NAMES["topic"][int(np.asarray(logits)[0, :2].argmax())],))
    context = "Ada Lovelace wrote it ; so they say ."
    (answer,) = label(predictor, objective, "qa", [HeadExample("span", texts=("Who ?", context))])
    assert answer.labels[0] and answer.labels[0] in context


@pytest.mark.parametrize("shape", ["tags", "tree"])
def test_what_is_longer_than_a_row_is_read_in_parts(predictor, shape, monkeypatch):
    monkeypatch.setattr(labelling, "widths", lambda longest: [160])  # one to compile
    head = {"tags": "pos", "tree": "deps"}[shape]
    words = tuple(f"w{i}" for i in range(40))
    short = labels(inputs_length=64, words_length=12, overlength="window")
    together = [
        HeadExample(shape, words),
        HeadExample(shape, words[:5]),
    ]
    found = label(predictor, short, head, together, batch_size=8)
    for marked, answer in zip(together, found, strict=True):
        assert len(answer.labels) == len(marked.words)
        assert shape == "tags" or is_tree(np.array(answer.heads))
        assert label(predictor, short, head, [marked]) == [answer]
    # A part's own words have the labels that it gives, read by itself.
    first = short.pieces(head, together[0])[0]
    alone = label(predictor, short, head, [HeadExample(shape, words[: first.stop])])[0]
    if shape == "tags":  # a tree is one of the whole sentence
        assert 0 < first.last < first.stop < len(words)
        assert alone.labels[: first.last] == found[0].labels[: first.last]


def test_refused_and_left_out(predictor):
    words = tuple(f"w{i}" for i in range(40))
    with pytest.raises(
        UserError, match=r"'w0 w1.*words_length = 12.*DataConfig.overlength = 'window'"
    ):
        label(predictor, labels(words_length=12), "pos", [HeadExample("tags", words)])
    left = labels(words_length=12, overlength="leave_out")
    found = label(
        predictor, left, "pos", [HeadExample("tags", words), HeadExample("tags", words[:3])]
    )
    assert found[0] == Answer(()) and len(found[1].labels) == 3
    assert label(predictor, left, "pos", []) == []
    with pytest.raises(UserError, match="no head 'ner'"):
        label(predictor, left, "ner", [])


@pytest.mark.slow
def test_on_eight_devices_and_routed_by_language():
    asked = [HeadExample("tags", words) for words in SENTENCES]
    model = encoder(plugs=(plug(Pfeiffer, "lang", routes=2, key="source", reduction_factor=4),))
    ids = [0, 1, 1, 0, 1]
    one, many = predictor_of(model), predictor_of(model, 8, data=2, fsdp=2, tensor=2)
    found = label(one, labels(), "pos", asked, languages=ids)
    assert found == label(many, labels(), "pos", asked, languages=ids)
    for i, (marked, answer) in enumerate(zip(asked, found, strict=True)):
        assert label(one, labels(), "pos", [marked], languages=[ids[i]]) == [answer]
    logits = [np.asarray(_routed(one, asked[2], language).logits)[0, :8] for language in (0, 1)]
    assert not np.allclose(*logits)


def _routed(predictor, marked, language):
    objective = labels()
    batch = objective.batch(objective.pieces("pos", marked)) | {"language": np.array([language])}
    return outputs_of(predictor.config, "pos")(predictor.params, batch)


def test_a_bilstm_labels_words():
    config = BiLSTMConfig(
        16, 16, word_dim=8, char_dim=4, char_units=6, units=8, layers=1, heads=HEADS
    )
    predictor, objective = predictor_of(config), labels(words=True)
    asked = [HeadExample("tree", words) for words in SENTENCES]
    found = label(predictor, objective, "deps", asked, batch_size=4)
    for marked, answer in zip(asked, found, strict=True):
        assert is_tree(np.array(answer.heads)) and len(answer.labels) == len(marked.words)
        assert label(predictor, objective, "deps", [marked]) == [answer]
    (answer,) = label(
        predictor, objective, "qa", [HeadExample("span", texts=("Who ?", "By Ada ."))]
    )
    assert answer.labels[0] in "By Ada ."
