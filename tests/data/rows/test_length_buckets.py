"""Batches by length: the same rows as without, none cut, from the seed and the step alone."""

import dataclasses

import numpy as np
import pytest

from jaxlt.data import inventory, mixtures
from jaxlt.data.config import DataConfig
from jaxlt.data.rows import length_buckets
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.errors import UserError

POOL, ROWS = 5, 8
FACTORY = FactoryConfig((Family(2),), annotated=150, opinions=60)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Made sentences are short."""
    monkeypatch.setattr(length_buckets, "NARROWEST", 4)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return DataConfig(
        mixture="like",
        objective="heads",
        tasks=(
            TaskConfig("synthetic_parsing", factory=FACTORY),
            TaskConfig("synthetic_sentiment", factory=FACTORY),
        ),
        inputs_length=200,
        words_length=32,
        batch_size=ROWS,
        held_out=0.2,
        overlength="leave_out",
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )


@pytest.fixture(scope="module", params=["tokens", "words"])
def pair(plain, request):
    """(config without, config with, names) of batches by length."""
    config = dataclasses.replace(plain, reads=request.param)
    rooms = {"synthetic_parsing": 40, "synthetic_sentiment": 4}
    names = inventory.take(mixtures.training_examples(config), rooms, 5000, 500)
    return config, dataclasses.replace(config, length_buckets=POOL), names


def whole(fields, like):
    """Rows as bytes, as wide as those of other batches."""
    wide = {
        name: np.pad(
            values,
            [(0, n - m) for n, m in zip(like[name].shape, values.shape, strict=True)],
            constant_values=-1 if name in ("word_first", "word_labels", "word_heads") else 0,
        )
        for name, values in fields.items()
    }
    return [b"".join(wide[n][row].tobytes() for n in sorted(wide)) for row in range(ROWS)]


def test_the_rows_are_those_that_would_have_come_and_nothing_of_them_is_cut(pair):
    without, with_, names = pair
    plain = mixtures.open_mixture(without, inventory=names)
    like = mixtures.open_mixture(with_, inventory=names)
    assert like.spec() == plain.spec() and like.fingerprint != plain.fingerprint
    widths = set()
    for pool in range(3):
        expected, found = [], []
        for step in range(pool * POOL, (pool + 1) * POOL):
            full = plain.rows(step, 0, ROWS)
            expected += whole(full, full)
            fields = like.rows(step, 0, ROWS)
            read = fields["words" if without.reads == "words" else "encoder_input_tokens"]
            widths.add(read.shape[1])
            found += whole(fields, full)
        assert sorted(found) == sorted(expected) and found != expected
    length = without.words_length if without.reads == "words" else without.inputs_length
    assert widths <= {-(-length // part) for part in (8, 4, 2, 1)} and len(widths) > 1
    assert 0 < like.filled < 1


def test_few_shapes_and_none_too_narrow(pair, monkeypatch):
    _, with_, names = pair
    for narrowest, parts in ((4, 8), (8, 4), (32, 1), (999, 1)):
        monkeypatch.setattr(length_buckets, "NARROWEST", narrowest)
        widths = length_buckets.Widths(mixtures.open_mixture(with_, inventory=names)._make)
        assert [widths.part(share) for share in (0.0, 0.125, 1.0)] == [parts, parts, 1]
        assert widths.part(0.126) == min(parts, 4)


def test_a_batch_depends_on_the_step_alone_and_hosts_agree_on_its_width(pair):
    _, with_, names = pair
    forward = mixtures.open_mixture(with_, inventory=names)
    ahead = [forward.rows(step, 0, ROWS) for step in range(3 * POOL)]
    again = mixtures.open_mixture(with_, inventory=names)
    for step in (13, 2, 7, 14, 0):
        halves = [again.rows(step, 0, ROWS // 2), again.rows(step, ROWS // 2, ROWS)]
        for name, values in ahead[step].items():
            joined = np.concatenate([half[name] for half in halves])
            np.testing.assert_array_equal(joined, values)
    other = mixtures.open_mixture(dataclasses.replace(with_, seed=1), inventory=names)
    assert other.fingerprint != forward.fingerprint


def test_a_pass_for_evaluation_has_every_row_once(pair):
    without, with_, names = pair
    plain = mixtures.open_evaluation(without, inventory=names)
    like = mixtures.open_evaluation(with_, inventory=names)
    assert (like.num_rows, like.num_batches) == (plain.num_rows, plain.num_batches)
    expected, found, widths = [], [], []
    for step in range(plain.num_batches):
        full = plain.rows(step, 0, ROWS)
        there = min(ROWS, plain.num_rows - step * ROWS)
        expected += whole(full, full)[:there]
        fields = like.rows(step, 0, ROWS)
        widths.append(fields["sentence"].shape[1])
        found += whole(fields, full)[:there]
    assert sorted(found) == sorted(expected) and widths == sorted(widths)


def test_running_text_has_no_lengths_to_be_alike():
    with pytest.raises(UserError, match="only heads"):
        DataConfig(sources="text", length_buckets=4)
    with pytest.raises(UserError, match="0 or more"):
        DataConfig(sources="text", length_buckets=-1)
