"""TensorFlow Datasets through a registered seqio task: tokenised once, then sought as any text."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture

seqio = pytest.importorskip("seqio")
tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")


def write_dataset(folder):
    """Writes `small_text`, as TensorFlow Datasets prepares it, without its builder's code."""
    folder.mkdir(parents=True)
    splits = []
    for split, count in (("train", 60), ("validation", 9)):
        texts = [f"document {i} of {count} in a dataset".encode() for i in range(count)]
        with tf.io.TFRecordWriter(f"{folder}/small_text-{split}.tfrecord-00000-of-00001") as file:
            for text in texts:
                value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
                features = tf.train.Features(feature={"text": value})
                file.write(tf.train.Example(features=features).SerializeToString())
        size = sum(map(len, texts))
        splits.append(tfds.core.SplitInfo(name=split, shard_lengths=[count], num_bytes=size))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
        split_infos=splits,
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )


def test_a_task_over_tfds_is_a_mixture(tmp_path, monkeypatch):
    write_dataset(tmp_path / "tfds" / "small_text" / "1.0.0")
    features = {"targets": seqio.Feature(seqio.ByteVocabulary(extra_ids=0), add_eos=True)}

    def register():
        seqio.TaskRegistry.add(
            "web.eng_Latn",
            source=seqio.TfdsDataSource("small_text:1.0.0", tfds_data_dir=str(tmp_path / "tfds")),
            preprocessors=[
                _rekeyed,
                seqio.preprocessors.tokenize,
                seqio.CacheDatasetPlaceholder(),
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features=features,
        )

    register()
    config = DataConfig(
        mixture="web.eng_Latn", inputs_length=64, batch_size=4, cache_dir=str(tmp_path / "cache")
    )
    mixture = open_mixture(config)
    assert mixture.languages == ("eng_Latn",) and mixture.info()[0].documents == 60
    assert open_evaluation(config).num_rows > 2
    far = mixture.rows(1_000_000, 0, 4)
    seqio.TaskRegistry.remove("web.eng_Latn")
    register()  # as another process does
    monkeypatch.setattr(seqio.TfdsDataSource, "get_dataset", None)  # its cache is there
    again = open_mixture(config)
    assert again.fingerprint == mixture.fingerprint
    assert all(np.array_equal(far[n], again.rows(1_000_000, 0, 4)[n]) for n in far)
    assert open_mixture(replace(config, seed=1)).fingerprint != mixture.fingerprint


def _rekeyed(dataset):
    return dataset.map(lambda example: {"targets": example["text"]})
