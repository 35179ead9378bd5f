"""Bits per byte by language, against numpy."""

import jax
import numpy as np
import pytest

from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.evaluator import LossEvaluator
from jaxlt.engine.loss.results import bpb_error
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.step import build
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from tests.conftest import make_batch, make_config, make_spec, random_params

CONFIG = make_config()
FLAT = random_params(CONFIG)
LANGUAGES = ("eng", "swh", "never", "yor")


def rows(count):
    batch = make_batch(count, languages=2)
    batch["language"] = np.where(batch["language"] == 1, 3, 0).astype(np.int32)
    batch["target_bytes"] = (2 * batch["target_bytes"]).astype(np.int32)
    return batch


class Pass(ArrayBatches):
    """One pass over 10 rows in batches of 4; the last two rows are padding."""

    num_batches = 3

    def __init__(self, alone=False):
        batch = rows(10)
        batch["language"] *= not alone
        filler = {n: v[:2] for n, v in batch.items()}
        filler["decoder_loss_weights"] = np.zeros_like(filler["decoder_loss_weights"])
        filler["target_bytes"] = np.zeros_like(filler["target_bytes"])
        whole = {n: np.concatenate([v, filler[n]]) for n, v in batch.items()}
        super().__init__(whole, 4, shuffle=False, languages=LANGUAGES)


@pytest.fixture(scope="module")
def program():
    return build(make_spec(CONFIG, MeshConfig(data=2, tensor=2)))


def by_hand(count):
    """Every number from the logits of the first rows, in float64."""
    batch = {n: v[:count] for n, v in rows(10).items()}
    logits = np.float64(jax.jit(model_of(CONFIG).apply)(unflatten(FLAT), batch))
    target, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -(np.take_along_axis(log_p, target[..., None], -1)[..., 0] * weights).sum(-1)
    wanted = {
        "nll": nll.sum() / weights.sum(),
        "accuracy": ((logits.argmax(-1) == target) * weights).sum() / weights.sum(),
        "target_tokens": weights.sum(),
        "bpb": nll.sum() / np.log(2) / batch["target_bytes"].sum(),
    }
    for i in (0, 3):
        own = batch["language"] == i
        if own.any():
            wanted[f"bytes/{LANGUAGES[i]}"] = batch["target_bytes"][own].sum()
            bits = nll[own].sum() / np.log(2)
            wanted[f"bpb/{LANGUAGES[i]}"] = bits / wanted[f"bytes/{LANGUAGES[i]}"]
    each = [v for n, v in wanted.items() if n.startswith("bpb/")]
    return wanted | {"bpb_mean": np.mean(each)}


def test_scores_by_language(program):
    evaluator = LossEvaluator(Pass())
    found = evaluator(program, FLAT)
    wanted = by_hand(10)
    assert evaluator.name == "eval"
    assert set(found) == set(wanted) and "bpb/never" not in found
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name
        assert isinstance(found[name], float)


def test_the_results_of_one_language_have_all_its_losses_whatever_others_the_source_names(program):
    evaluator = LossEvaluator(Pass())
    evaluator(program, FLAT)
    several = {(one.metric, one.language, one.aggregate) for one in evaluator.results}
    assert several == {
        *(("bpb", *where) for where in (("eng", "none"), ("yor", "none"), ("all", "macro"))),
        *((metric, "all", "pooled") for metric in ("nll", "accuracy", "bpb")),
    }
    evaluator = LossEvaluator(Pass(alone=True))
    totals = evaluator(program, FLAT)
    found = {(one.metric, one.language): one.value for one in evaluator.results}
    assert {*found} == {("nll", "eng"), ("accuracy", "eng"), ("bpb", "eng")}
    assert found["nll", "eng"] == pytest.approx(totals["nll"])


def test_the_error_of_bits_per_byte_is_that_of_resampled_rows(program):
    totals = LossEvaluator(Pass()).totals(program, FLAT)
    sums = {name: values.sum() for name, values in totals.items()}
    assert sums["rows"] == 10
    rng = np.random.default_rng(0)
    size = rng.integers(5, 60, 300)
    nll = size * rng.gamma(8, 0.2, 300)
    made = {
        "rows": 300, "row_nll": nll.sum(), "target_bytes": size.sum(), "nll_nll": (nll**2).sum(),
        "nll_bytes": (nll * size).sum(), "bytes_bytes": (size.astype(float) ** 2).sum(),
    }  # fmt: skip
    drawn = rng.integers(0, 300, (4000, 300))
    resampled = nll[drawn].sum(1) / size[drawn].sum(1) / np.log(2)
    assert bpb_error(made) == pytest.approx(resampled.std(), rel=0.05)
    per_byte = sums["row_nll"] / sums["target_bytes"] / np.log(2)
    assert 0 < bpb_error(sums) < per_byte
    assert bpb_error(made | {"rows": 1}) == np.inf


def test_targets_that_are_no_text_have_no_bits_per_byte(program):
    source = Pass()
    source.spells_text = False
    found = LossEvaluator(source)(program, FLAT)
    assert not [name for name in found if name.startswith(("bpb", "bytes"))]
    wanted = LossEvaluator(Pass())(program, FLAT)
    assert found["nll"] == wanted["nll"] and "accuracy/eng" in found
