"""Prefix LM and UL2's denoisers: rows are full, and the text comes back from them."""

import numpy as np
import pytest

from jaxlt.data.objectives.denoisers import UL2, Denoisers, PrefixLM
from jaxlt.data.objectives.objectives import corrupted_lengths
from jaxlt.data.rows.batches import uniforms
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError

BYTES = open_vocabulary(VocabularyConfig())


def text(rows, length, seed=0):
    tokens = np.random.default_rng(seed).integers(40, 100, (rows, length)).astype(np.int32)
    return {"targets": (tokens, np.full(rows, length))}


def draw(rows, count):
    return uniforms(7, "test", np.asarray(rows), count)


@pytest.mark.parametrize("density", [0.1, 0.25, 0.5, 0.9])
def test_prefix_rows_are_full_and_hold_the_text(density):
    objective = PrefixLM(BYTES, inputs_length=65, density=density)
    given = text(3, objective.window)
    fields = objective(given, draw)
    inputs, targets = fields["encoder_input_tokens"], fields["decoder_target_tokens"]
    assert inputs.shape == (3, 65) and (inputs > 0).all() and (targets > 0).all()
    assert (inputs[:, -1] == 1).all() and (targets[:, -1] == 1).all()
    whole = np.concatenate([inputs[:, :-1], targets[:, :-1]], axis=1)
    assert np.array_equal(whole, given["targets"][0])
    assert targets.shape[1] - 1 == round(objective.window * density)
    assert (fields["target_bytes"] == targets.shape[1] - 1).all()
    assert np.array_equal(fields["decoder_input_tokens"][:, 1:], targets[:, :-1])


def test_short_rows_are_padded_and_empty_ones_stay_empty():
    objective = PrefixLM(BYTES, inputs_length=65)
    tokens = text(3, objective.window)["targets"][0]
    fields = objective({"targets": (tokens, np.array([objective.window, 8, 0]))}, draw)
    assert np.count_nonzero(fields["encoder_input_tokens"], axis=1).tolist() == [65, 7, 0]
    assert fields["decoder_loss_weights"].sum(axis=1)[1:].tolist() == [3, 0]
    with pytest.raises(UserError, match="targets_length=5 is too small"):
        PrefixLM(BYTES, 65, targets_length=5)


def rebuilt(inputs, targets, mode):
    """The text under a row: the targets' spans put back where the inputs' sentinels stand."""
    inputs = inputs[inputs > 1][len(mode) :]
    if (inputs < 110).all():  # sequential: no sentinels
        return np.concatenate([inputs, targets[targets > 1]])
    targets = targets[targets > 1]
    spans = np.split(targets, np.flatnonzero(targets > 110))[1:]
    out = []
    for token in inputs:
        out += spans[258 - token][1:].tolist() if token > 110 else [int(token)]
    return np.array(out)


def test_ul2_draws_every_denoiser_evenly_and_keeps_the_text():
    objective = Denoisers(BYTES, inputs_length=96)
    given = text(700, objective.window)
    fields = objective(given, draw)
    modes = [BYTES.decode(row[:5]) for row in fields["encoder_input_tokens"]]
    share = {m: modes.count(m) / 700 for m in set(modes)}
    assert share["[NLU]"] == pytest.approx(2 / 7, abs=0.06)
    assert share["[NLG]"] == pytest.approx(4 / 7, abs=0.06)
    assert share["[S2S]"] == pytest.approx(1 / 7, abs=0.06)
    for row in range(0, 700, 7):
        inputs, targets = (
            fields[n][row] for n in ("encoder_input_tokens", "decoder_target_tokens")
        )
        assert np.array_equal(rebuilt(inputs, targets, range(5)), given["targets"][0][row])
    asked = fields["target_bytes"] / objective.window
    kinds = sorted({round(float(a), 2) for a in asked})
    assert kinds == pytest.approx([0.15, 0.25, 0.5], abs=0.02)
    longest = corrupted_lengths(objective.window, 0.5, 3)[1]
    assert objective.targets_length == longest


def test_a_row_of_ul2_does_not_depend_on_its_neighbours():
    objective = Denoisers(BYTES, inputs_length=64)
    given = text(20, objective.window)
    whole = objective(given, draw)
    some = np.array([3, 11, 17])
    part = objective(
        {"targets": tuple(v[some] for v in given["targets"])}, lambda r, n: draw(some[r], n)
    )
    assert all(np.array_equal(whole[n][some], part[n]) for n in whole)


def test_modes_and_denoisers_are_the_users():
    plain = Denoisers(BYTES, inputs_length=64, modes=False)
    assert plain.window > Denoisers(BYTES, inputs_length=64).window
    only = Denoisers(BYTES, inputs_length=64, denoisers=UL2[-1:], modes=False)
    fields = only(text(2, only.window), draw)
    assert (fields["encoder_input_tokens"] < 110).all()
    with pytest.raises(UserError, match="with UL2's denoisers"):
        Denoisers(BYTES, inputs_length=64, targets_length=10)
