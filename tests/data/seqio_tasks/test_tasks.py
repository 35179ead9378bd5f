"""The same texts as ordinary seqio tasks and mixtures, and seqio tasks as jaxlt mixtures."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture, open_texts
from jaxlt.data.objectives.build import build_objective
from jaxlt.data.objectives.objectives import decoder_fields
from jaxlt.data.seqio_tasks import mixtures, text
from jaxlt.data.synth.families import FactoryConfig
from jaxlt.data.synth.languages import FAMILY, write_languages
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
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
    assert mixtures.register(config) == "made"
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
    mixtures.register(config)
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
    mixtures.register(config)
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
    mixtures.register(config)
    task = seqio.get_mixture_or_task("masked.asha_Latn")
    lengths = {"inputs": 64, "targets": 64, "weights": 64}
    # In order, for the last row is short and a shuffled one may begin with it.
    example = next(task.get_dataset(lengths, shuffle=False, seed=0).as_numpy_iterator())
    assert example["inputs"].shape == example["targets"].shape == example["weights"].shape == (64,)
    changed = example["inputs"] != example["targets"]
    assert 0 < changed.sum() <= example["weights"].sum() == round(0.15 * 63)


def test_unknown_and_unfit_tasks_are_refused(config):
    mixtures.register(config)
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


def as_seqio_reads_it(name, split="train", lengths=None):
    """The (inputs, targets) of a task, uncut and with their ends, as a multiset."""
    task = seqio.get_mixture_or_task(name)
    found = task.get_dataset(lengths, split, shuffle=False, seed=0).as_numpy_iterator()
    return Counter((tuple(e["inputs"].tolist()), tuple(e["targets"].tolist())) for e in found)


def as_it_is_stored(text):
    columns = (text.cache.columns[name] for name in ("inputs", "targets"))
    of_each = ([(*c.whole(i).tolist(), 1) for i in range(text.cache.examples)] for c in columns)
    return Counter(zip(*of_each, strict=True))


def stored(config):
    vocabulary = open_vocabulary(config.vocabulary_config)
    objective = build_objective(config, vocabulary)
    return open_texts(config, "train", vocabulary, objective)[0]


@pytest.fixture
def tasks(tmp_path, config):
    """Treebanks, made pairs and running text as pairs, in one mixture at rates of its own."""
    line = "1\tHe\the\tPRON\t_\t_\t0\troot\t_\t_\n\n"
    (tmp_path / "en_x-train.conllu").write_text(line * 3, encoding="utf-8")
    made = FactoryConfig(sentences=60, annotated=12, opinions=12, parallel=12)
    return replace(
        config,
        mixture="several",
        sources=(),
        objective="text_to_text",
        rates=(("tagging", 2.0), ("synthetic_parallel", 1.0), ("denoise", 1.0)),
        tasks=(
            TaskConfig("tagging", str(tmp_path / "en_x-train.conllu")),
            TaskConfig("synthetic_parallel", factory=made),
            TaskConfig("denoise", str(tmp_path / "text")),
        ),
    )


def test_seqio_has_the_examples_of_every_configured_task(tasks):
    assert mixtures.register(tasks) == "several"
    mixture = seqio.get_mixture_or_task("several")
    texts = stored(tasks)
    assert {t.name for t in mixture.tasks} == {f"several.{t.name}" for t in texts}
    rates = {f"several.{i.name}": i.rate for i in open_mixture(tasks).info()}
    for own in texts:
        name = f"several.{own.name}"
        got = as_seqio_reads_it(name)
        assert got == as_it_is_stored(own) and got.total() == own.cache.examples > 0, name
        assert mixture.get_rate(seqio.TaskRegistry.get(name)) == pytest.approx(rates[name])


@pytest.mark.slow
def test_a_fresh_process_has_the_mixtures_of_gin_files(tmp_path, config):
    gin = tmp_path / "mine.gin"
    gin.write_text(
        "include 'models/tiny.gin'\ninclude 'runs/pretrain.gin'\n"
        f"DataConfig.mixture = 'fresh'\nTEXT = '{tmp_path / 'text'}'\n"
        f"DataConfig.cache_dir = '{config.cache_dir}'\nDataConfig.inputs_length = 64\n"
    )
    code = (
        "import seqio, jaxlt.config.mixtures\n"
        "task = seqio.get_mixture_or_task('fresh.asha_Latn')\n"
        "made = task.preprocess_precache(task.source.get_dataset('train', shuffle=False))\n"
        "print([e['targets'].tolist() for e in made.as_numpy_iterator()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "JAXLT_MIXTURES": str(gin)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (own,) = [t for t in stored(replace(config, held_out=None)) if t.language == "asha_Latn"]
    column = own.cache.columns["targets"]
    wanted = [column.whole(i).tolist() for i in range(own.cache.examples)]
    assert Counter(map(tuple, json.loads(done.stdout))) == Counter(map(tuple, wanted))


def test_what_seqio_cannot_say_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="neither sources nor tasks"):
        mixtures.register(replace(config, sources=()))
    with pytest.raises(UserError, match="have no noise"):
        mixtures.register(replace(config, text=TextConfig(noise=0.1)))


def own_task(name, pairs, cached=True):
    """A task as its user registers it, of texts in memory."""

    def dataset(split, shuffle_files, seed=None):
        inputs, targets = map(list, zip(*pairs, strict=True))
        return tf.data.Dataset.from_tensor_slices({"inputs": inputs, "targets": targets})

    import tensorflow as tf

    steps = [seqio.preprocessors.tokenize, *[seqio.CacheDatasetPlaceholder()] * cached]
    source = seqio.FunctionDataSource(dataset, splits=("train", "validation"))
    steps.append(seqio.preprocessors.append_eos_after_trim)
    return text.replace_task(name, DataConfig(), source, steps)


def test_any_task_or_mixture_trains(tmp_path):
    pairs = [(f"q{i}", f"a{i}") for i in range(9)]
    config = DataConfig(
        mixture="any", objective="text_to_text", inputs_length=16, cache_dir=str(tmp_path)
    )
    for name in ("one.eng_Latn", "two.eng_Latn"):  # two tasks of one language, neither marked
        own_task(name, pairs, cached=False)
    if "any" in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove("any")
    seqio.MixtureRegistry.add("any", [("one.eng_Latn", 1.0), ("two.eng_Latn", 3.0)])
    source = open_mixture(config)
    assert {i.name: i.rate for i in source.info()} == {"one.eng_Latn": 0.25, "two.eng_Latn": 0.75}
    assert source.languages == ("eng_Latn",)
    assert all(as_it_is_stored(t) == as_seqio_reads_it("one.eng_Latn") for t in stored(config))
    with pytest.raises(UserError, match="CacheDatasetPlaceholder"):
        open_mixture(replace(config, objective="span_corruption"))


def test_seqios_offline_cache_is_read(tmp_path):
    import tensorflow as tf

    task = own_task("offline.eng_Latn", [("never", "read")])
    config = DataConfig(
        mixture=task.name,
        objective="text_to_text",
        inputs_length=16,
        use_cached=True,
        cache_dir=str(tmp_path / "own"),
    )
    with pytest.raises(UserError, match=r"no offline cache of 'offline\.eng_Latn'"):
        open_mixture(config)
    folder = tmp_path / "offline" / seqio.get_task_dir_from_name(task.name)
    folder.mkdir(parents=True)
    ids = [{"inputs": [10 + i, 11], "targets": [20 + i]} for i in range(6)]
    with tf.io.TFRecordWriter(f"{folder}/train.tfrecord-00000-of-00001") as file:
        for example in ids:
            file.write(seqio.utils.dict_to_tfexample(example).SerializeToString())
    told = {"num_shards": 1, "features": {n: {"shape": [None], "dtype": "int32"} for n in ids[0]}}
    (folder / "info.train.json").write_text(json.dumps(told))
    (folder / "stats.train.json").write_text(json.dumps({"examples": len(ids)}))
    (folder / "COMPLETED").write_text("")
    seqio.add_global_cache_dirs([str(tmp_path / "offline")])
    (own,) = stored(config)
    wanted = Counter(((*e["inputs"], 1), (*e["targets"], 1)) for e in ids)
    assert as_it_is_stored(own) == wanted
    assert open_mixture(config).rows(0, 0, 4)["encoder_input_tokens"][:, 0].min() >= 10
