"""Packed rows: every example once a cycle, languages by token, and what a model makes of them."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture
from jaxlt.data.rows.batches import BatchSource
from jaxlt.data.rows.packing import pack
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError

BYTES = open_vocabulary(VocabularyConfig())


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    for language, count in (("aaa_Latn", 120), ("bbb_Latn", 40)):
        letters = "abcdefg" if language < "b" else "stuvwxyz"
        words = lambda n, letters=letters: "".join(rng.choice(list(letters), n))  # noqa: E731
        lines = [
            f"{words(rng.integers(3, 30))}\t{words(rng.integers(2, 12))}" for _ in range(count)
        ]
        (tmp_path / "pairs").mkdir(exist_ok=True)
        (tmp_path / "pairs" / f"{language}.tsv").write_text("\n".join(lines) + "\n")
    return DataConfig(
        sources=str(tmp_path / "pairs"),
        objective="text_to_text",
        inputs_length=64,
        targets_length=32,
        batch_size=8,
        held_out=0.0,
        alpha=1.0,
        packing="mixed",
        cache_dir=str(tmp_path / "cache"),
    )


def examples(batch):
    """Returns (language, inputs, targets) of every example of a packed batch."""
    found = []
    for row in range(len(batch["language"])):
        for segment in range(1, batch["decoder_segment_ids"][row].max() + 1):
            there = batch["encoder_segment_ids"][row] == segment
            asked = batch["decoder_segment_ids"][row] == segment
            ids = np.concatenate(
                [
                    batch["encoder_language_ids"][row][there],
                    batch["decoder_language_ids"][row][asked],
                ]
            )
            assert len(set(ids.tolist())) == 1
            assert np.array_equal(batch["encoder_positions"][row][there], np.arange(there.sum()))
            assert np.array_equal(batch["decoder_positions"][row][asked], np.arange(asked.sum()))
            assert batch["decoder_input_tokens"][row][asked][0] == 0
            texts = (
                batch["encoder_input_tokens"][row][there],
                batch["decoder_target_tokens"][row][asked],
            )
            found.append((int(ids[0]), *(BYTES.decode(t) for t in texts)))
    return found


@pytest.mark.parametrize("packing", ["mixed", "language"])
def test_every_example_comes_once_a_cycle(config, packing):
    mixture = open_mixture(replace(config, packing=packing))
    assert isinstance(mixture, BatchSource)
    rows = mixture._plan.rows
    found = [e for r in range(rows) for e in examples(mixture.rows(r // 8, r % 8, r % 8 + 1))]
    plain = open_mixture(replace(config, packing="none", batch_size=1, shuffle=False))
    said = set()
    for step in range(2000):
        row = plain.rows(step, 0, 1)
        texts = (row["encoder_input_tokens"][0], row["decoder_target_tokens"][0])
        said.add((int(row["language"][0]), *(BYTES.decode(t) for t in texts)))
    assert len(found) == 160 and set(found) == said
    languages = [
        {e[0] for e in examples(mixture.rows(r // 8, r % 8, r % 8 + 1))} for r in range(rows)
    ]
    assert any(len(s) == 2 for s in languages) == (packing == "mixed")


def test_rows_are_well_filled_seekable_and_split_among_hosts(config):
    mixture = open_mixture(config)
    batch = mixture.rows(1_000_000, 0, 8)
    filled = np.mean(
        [np.count_nonzero(mixture.rows(s, 0, 8)["encoder_input_tokens"]) for s in range(20)]
    )
    assert filled / (8 * 64) > 0.85
    halves = mixture.rows(1_000_000, 0, 3), mixture.rows(1_000_000, 3, 8)
    for name, (shape, dtype) in mixture.spec().items():
        assert batch[name].shape == (8, *shape) and batch[name].dtype == dtype
        assert np.array_equal(batch[name], np.concatenate([h[name] for h in halves]))
    again, other = open_mixture(config), open_mixture(replace(config, seed=3))
    assert np.array_equal(again.rows(5, 0, 8)["language"], mixture.rows(5, 0, 8)["language"])
    assert other.fingerprint != mixture.fingerprint
    assert open_mixture(replace(config, packing="language")).fingerprint != mixture.fingerprint


def test_small_languages_are_repeated_by_their_rate(config):
    mixture = open_mixture(replace(config, rates=(("aaa_Latn", 0.5), ("bbb_Latn", 0.5))))
    found = [e for s in range(40) for e in examples(mixture.rows(s, 0, 8))]
    assert np.mean([e[0] for e in found]) == pytest.approx(0.5, abs=0.06)
    assert [i.rows > 0 for i in mixture.info()] == [True, True]
    assert "aaa_Latn" in mixture.describe()


def test_a_model_computes_for_packed_rows_what_it_computes_for_single_ones(config):
    import jax

    from jaxlt.models.t5 import T5
    from tests.conftest import make_config, random_variables

    config = replace(config, batch_size=4)
    model_config = make_config(
        vocab_rows=384, encoder_layers=1, decoder_layers=1, scan_layers=False
    )
    model, variables = T5(model_config), random_variables(model_config)
    packed = open_mixture(config).rows(0, 0, 4)
    names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
    masks, singles = [], []
    for row in range(4):
        for segment in range(1, packed["decoder_segment_ids"][row].max() + 1):
            single, asked = {}, packed["decoder_segment_ids"][row] == segment
            for name in names:
                mask = packed[f"{name[:7]}_segment_ids"][row] == segment
                single[name] = np.zeros(len(mask), np.int32)
                single[name][: mask.sum()] = packed[name][row][mask]
            masks.append((row, asked))
            singles.append(single)
    apply = jax.jit(lambda batch: model.apply(variables, batch))
    joint = np.asarray(apply(packed))
    alone = np.asarray(apply({n: np.stack([s[n] for s in singles]) for n in names}))
    for (row, asked), logits in zip(masks, alone, strict=True):
        np.testing.assert_allclose(joint[row][asked], logits[: asked.sum()], rtol=2e-5, atol=2e-5)
    assert len(masks) > 8


def test_packing_is_for_pairs(config):
    with pytest.raises(UserError, match="full already"):
        replace(config, objective="span_corruption")
    with pytest.raises(UserError, match=r"packing is one of .* Did you mean 'mixed'"):
        replace(config, packing="mixd")


def test_no_row_is_overfull_and_none_is_lost():
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 65, (2, 500))
    plan = pack(sizes.T, (64, 64), rng.integers(0, 3, 500))
    assert sorted(plan.members.tolist()) == list(range(500))
    for start, stop in zip(plan.starts[:-1], plan.starts[1:], strict=True):
        assert (sizes[:, plan.members[start:stop]].sum(axis=1) <= 64).all() and stop > start


def test_noise_of_packed_rows_is_another_in_each_cycle(config):
    config = replace(config, text=TextConfig(noise=0.9, alphabet="abcdef"), shuffle=False)

    def cycles(mixture):
        rows, batches = mixture._plan.rows, config.batch_size
        for cycle in range(3):
            numbers = range(cycle * rows, (cycle + 1) * rows)
            yield [
                mixture.rows(r // batches, r % batches, r % batches + 1)["encoder_input_tokens"]
                for r in numbers
            ]

    one, two, three = (np.concatenate(c) for c in cycles(open_mixture(config)))
    assert (one != two).any(1).mean() > 0.9 and (two != three).any(1).mean() > 0.9
    one, two, _ = (np.concatenate(c) for c in cycles(open_mixture(replace(config, revision=1))))
    assert np.array_equal(one, two)  # as it was
    again = open_mixture(config)
    for name, values in open_mixture(config).rows(77, 0, 8).items():
        assert np.array_equal(again.rows(77, 0, 8)[name], values)
