"""A number beyond what it counts is an error at every door, and never another's module."""

import jax
import numpy as np
import pytest

from jaxlt.data.head_example import HeadExample
from jaxlt.data.inventory import Inventory
from jaxlt.data.labelling import Labels, Task
from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.data.vocabulary.label_units import PieceUnits
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.engine.batch_checks import check_fields, check_routes, slots_of
from jaxlt.engine.decode.config import DecodingConfig
from jaxlt.engine.decode.decoding import decode, greedy
from jaxlt.engine.evaluator import LossEvaluator
from jaxlt.engine.feed import read_batch
from jaxlt.engine.step import build
from jaxlt.errors import UserError
from jaxlt.inference.labelling import label
from jaxlt.inference.predictor import Predictor
from jaxlt.inference.states.capture import capture
from jaxlt.inference.states.gradient_scores import mean_squared_gradients
from jaxlt.models.tagger import TaggerConfig
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.conftest import (
    make_batch,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    random_params,
)

LANG = plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=4)
CONFIG = make_config(plugs=(LANG,))
LANGUAGES = tuple(f"l{i}" for i in range(100))
BATCH = make_batch() | {"language": np.array([0, 7, 2, 99], np.int32)}
NO_SLOT = "the batch's language 7 has no slot: the bank has 3"


class Pass(ArrayBatches):
    """One batch of the rows above, of a source with more languages than the bank has slots."""

    num_batches = 1

    def __init__(self):
        super().__init__(BATCH, 4, shuffle=False, languages=LANGUAGES)


@pytest.fixture(scope="module")
def predictor():
    program = build(make_spec(CONFIG))
    return Predictor(program, jax.device_put(random_params(CONFIG)), 0, 0, LANGUAGES, "")


DOORS = {
    "program": lambda p: p.program.evaluate(p.params, place_batch(p.program, BATCH)),
    "score": lambda p: p.score(BATCH),
    "evaluator": lambda p: LossEvaluator(Pass())(p.program, p.params),
    "decode": lambda p: decode(p.config, p.params, BATCH, DecodingConfig(length=2)),
    "greedy": lambda p: greedy(p.config, p.params, BATCH, 2),
    "capture": lambda p: capture(p.config, p.params, BATCH),
    "gradients": lambda p: mean_squared_gradients(
        p.program, p.params, Pass(), ["params/token_embedder/embedding"], 1
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_languages_beyond_a_bank(predictor, door):
    with pytest.raises(UserError, match=NO_SLOT):
        DOORS[door](predictor)


def test_languages_beyond_a_bank_under_a_head():
    config = make_config(
        vocab_rows=384, decoder_layers=0, heads=(TaggerConfig("pos", 3),), plugs=(LANG,)
    )
    program = build(make_spec(config))
    predictor = Predictor(program, random_params(config), 0, 0, LANGUAGES, "")
    inventory = Inventory({"pos": ("NOUN", "VERB")}, (), ())
    reader = PieceUnits(open_vocabulary(VocabularyConfig()))
    labels = Labels((Task("pos", "tags"),), reader, inventory, 32, 8, "refuse")
    with pytest.raises(UserError, match=NO_SLOT):
        label(predictor, labels, "pos", [HeadExample("tags", ("a", "dog"))], languages=[7])


def test_words_beyond_their_row():
    """Also in training: the first row's last word begins behind its tokens."""
    rows = {"encoder_input_tokens": np.ones((2, 4), np.int32), "word_first": np.array([[0, 4]] * 2)}
    source = ArrayBatches(rows, 2, shuffle=False)
    mesh = make_spec().mesh
    with pytest.raises(UserError, match="Step 5: Row 0: word 2 begins at token 4, but the row"):
        read_batch(source, 5, mesh)
    rows["word_first"][:, 1] = 3
    assert "word_first" in read_batch(ArrayBatches(rows, 2), 5, mesh)[0]


def test_what_is_looked_at():
    slots = slots_of(CONFIG, languages=2)
    assert slots == {"language": 2, "cycle": 2} and slots_of(make_config()) == {}
    check_routes({"language": np.array([0, 1])}, slots)
    with pytest.raises(UserError, match="Step 1: the batch's cycle -1 has no slot"):
        check_routes({"cycle": jax.numpy.array([-1])}, slots, "Step 1: ")
    jax.jit(lambda index: check_routes({"language": index}, slots))(np.array([7]))  # not known yet


def test_a_target_at_no_named_place_is_an_error():
    batch = make_mlm_batch(rows=2)  # targets at places 1, 4 and 7
    named = np.tile(np.array([1, 4, 7], np.int32), (2, 1))
    check_fields(batch | {"encoder_target_places": named}, {})
    for places, words in {
        (1, 5, 7): "Row 1: the target at place 4 .* is 0 times among encoder_target_places",
        (1, 4, 4): "Row 1: the target at place 4 .* is 2 times",
        (1, 4, 9): "Row 1: encoder_target_places has the place 9, and rows have places 0 to 8",
    }.items():
        given = np.stack([named[0], np.array(places, np.int32)])
        with pytest.raises(UserError, match=words):
            check_fields(batch | {"encoder_target_places": given}, {}, "Step 3: ")
