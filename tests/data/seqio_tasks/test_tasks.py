"""The same texts as ordinary seqio tasks and mixtures, and seqio tasks as jaxlt mixtures."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture, register_mixture
from jaxlt.data.objectives.objectives import decoder_fields
from jaxlt.data.synth.languages import FAMILY, write_languages
from jaxlt.errors import UserError

seqio = pytest.importorskip("seqio")

LENGTHS = {"inputs": 64, "targets": 24}


@pytest.fixture
def config(tmp_path):
    write_languages(tmp_path / "text", FAMILY[:2], 80)
    return DataConfig(
        mixture="made",
        sources=str(tmp_path / "text"),
        inputs_length=64,
        held_out=0.1,
        cache_dir=str(tmp_path / "cache"),
    )


def test_a_t5x_user_gets_inputs_and_targets(config):
    assert register_mixture(config) == "made"
    mixture = seqio.get_mixture_or_task("made")
    assert {t.name for t in mixture.tasks} == {"made.asha_Latn", "made.bevo_Latn"}
    rates = {i.name: i.rate for i in open_mixture(config).info()}
    for task in mixture.tasks:
        assert mixture.get_rate(task) == pytest.approx(rates[task.name.split(".")[1]])
    task = seqio.get_mixture_or_task("made.asha_Latn")
    found = list(task.get_dataset(LENGTHS, "train", shuffle=False, seed=3).as_numpy_iterator())
    full = [e for e in found if len(e["inputs"]) == 64]
    assert len(full) > 10
    for example in full:
        assert example["inputs"][-1] == example["targets"][-1] == 1
        assert example["targets"][0] == 258 and example["inputs"].dtype == np.int32
    again = list(task.get_dataset(LENGTHS, "train", shuffle=False, seed=3).as_numpy_iterator())
    other = list(task.get_dataset(LENGTHS, "train", shuffle=False, seed=4).as_numpy_iterator())
    assert all(np.array_equal(a["inputs"], b["inputs"]) for a, b in zip(found, again, strict=True))
    assert not np.array_equal(found[0]["inputs"], other[0]["inputs"])


def test_the_task_feeds_t5xs_feature_converter(config):
    register_mixture(config)
    converter = seqio.EncDecFeatureConverter(pack=False)
    dataset = seqio.get_dataset("made", LENGTHS, converter, dataset_split="train", seed=0)
    batch = next(dataset.take(1).as_numpy_iterator())
    targets = batch["decoder_target_tokens"]
    fields = decoder_fields(targets[None], np.array([np.count_nonzero(targets)]))
    for name, values in fields.items():  # the fields of jaxlt's own batches
        assert np.array_equal(batch[name], values[0]), name


@pytest.mark.parametrize("objective", ["span_corruption", "text_to_text"])
def test_the_direct_way_and_the_tasks_way_read_the_same_tokens(config, tmp_path, objective):
    """Text is tokenised without TensorFlow; the plain way is through the task's preprocessors."""
    if objective == "text_to_text":
        config = replace(config, sources=str(tmp_path / "pairs"), objective=objective)
        (tmp_path / "pairs").mkdir()
        rows = [f"q {i} é\ta {i}" for i in range(40)]
        (tmp_path / "pairs" / "asha_Latn.tsv").write_text("\n".join(rows))
    register_mixture(config)
    direct = open_mixture(config)
    named = open_mixture(
        replace(config, sources=(), rates=tuple((i.name, i.rate) for i in direct.info()))
    )
    left, right = direct.rows(5, 0, 8), named.rows(5, 0, 8)
    assert all(np.array_equal(left[name], right[name]) for name in left)
    assert direct.info() == named.info()
    # without rates of its own a registered mixture keeps those it was registered with
    assert [i.rate for i in open_mixture(replace(config, sources=())).info()] == pytest.approx(
        [i.rate for i in direct.info()]
    )


def test_masked_lm_as_a_task(config):
    config = replace(config, objective="mlm", mixture="masked")
    register_mixture(config)
    task = seqio.get_mixture_or_task("masked.asha_Latn")
    lengths = {"inputs": 64, "targets": 64, "weights": 64}
    # In order, for the last row is short and a shuffled one may begin with it.
    example = next(task.get_dataset(lengths, shuffle=False, seed=0).as_numpy_iterator())
    assert example["inputs"].shape == example["targets"].shape == example["weights"].shape == (64,)
    changed = example["inputs"] != example["targets"]
    assert 0 < changed.sum() <= example["weights"].sum() == round(0.15 * 63)


def test_made_languages_without_files(tmp_path):
    from jaxlt.data.seqio_tasks.synthetic import register_synthetic

    config = DataConfig(
        mixture="factory", inputs_length=64, held_out=0.1, cache_dir=str(tmp_path / "cache")
    )
    register_synthetic(FAMILY[:2], 200, 0, config)
    mixture = open_mixture(config)
    assert mixture.languages == ("asha_Latn", "bevo_Latn")
    assert [i.rate for i in mixture.info()] == [0.5, 0.5]
    assert open_evaluation(config).num_rows > 2
    register_synthetic(FAMILY[:2], 200, 1, config)  # another seed is another text
    assert open_mixture(config).fingerprint != mixture.fingerprint


def test_unknown_and_unfit_tasks_are_refused(config):
    register_mixture(config)
    named = replace(config, sources=())
    with pytest.raises(
        UserError, match=r"'mode', and DataConfig.sources is empty.*Did you mean 'made'"
    ):
        open_mixture(replace(named, mixture="mode"))
    with pytest.raises(UserError, match="same vocabulary and sentinels"):
        open_mixture(replace(named, sentinels="extra"))
    with pytest.raises(UserError, match="no split 'test'"):
        open_mixture(named, "test")
    with pytest.raises(UserError, match=r"'asha_Lat'.*Did you mean 'asha_Latn'"):
        open_mixture(replace(named, rates=(("asha_Lat", 1.0),)))


def test_made_languages_of_the_first_revision_are_as_they_were(tmp_path):
    from jaxlt.data.seqio_tasks.synthetic import register_synthetic
    from jaxlt.data.synth.languages import generate

    config = DataConfig(mixture="old", held_out=0.1, cache_dir=str(tmp_path), revision=1)
    spec = replace(FAMILY[0], code="x_Latn", parent=FAMILY[1], freedom=0.8, noise=0.2)
    register_synthetic([spec], 40, 7, config)
    source = seqio.TaskRegistry.get("old.x_Latn").source
    found = {t for s in ("train", "validation") for t in source.get_dataset(s).as_numpy_iterator()}
    of = {n: {t.encode() for t in generate(replace(spec, revision=n), 40, 7)} for n in (1, 2)}
    assert found == of[1] != of[2]
    ((said, sentences, seed, shares), _) = source.identity()
    assert (sentences, seed, shares) == (40, 7, (0.1, 0.0, 0))
    *plain, revision = dataclasses.astuple(replace(spec, parent=None))
    plain[3] = list(dataclasses.astuple(FAMILY[1])[:-1])
    assert said == plain and revision == 2  # neither it nor its parent say a revision
