"""seqio's own offline cache of a mixture's tasks, written by Apache Beam on any of its runners.

    write(config, "caches/", ["--runner=DirectRunner"])      # then: use_cached=True in seqio

For corpora beyond one machine; needs the extra `beam`. Each language's files are one task.
"""

import os
from collections.abc import Sequence
from typing import Any

from jaxlt.data.config import DataConfig
from jaxlt.data.seqio_tasks import mixtures
from jaxlt.errors import UserError


def write(config: DataConfig, folder: str, options: Sequence[str] = ()) -> dict[str, str]:
    """Writes the cache of every task of the config; returns the folder of each task by its name.

    `options` are Beam's own flags. Tasks are registered again on the workers, from the config.
    """
    beam, beam_utils = _modules()
    import seqio

    names = mixtures.register_tasks(config).values()
    folders = {n: os.path.join(folder, seqio.get_task_dir_from_name(n)) for n in names}
    with beam.Pipeline(
        options=beam.options.pipeline_options.PipelineOptions(list(options))
    ) as root:
        for name in names:
            for split in seqio.TaskRegistry.get(name).splits:
                _split(root, beam, beam_utils, config, name, split, folders[name])
    for place in folders.values():  # seqio takes a folder with it for a whole cache
        with seqio_file(os.path.join(place, "COMPLETED")) as file:
            file.write("")
    return folders


class Register:
    """Makes a worker know the tasks of a config."""

    def __init__(self, config: DataConfig):
        self._config = config

    def __call__(self) -> None:
        mixtures.register_tasks(self._config)


def _split(
    root: Any,
    beam: Any,
    beam_utils: Any,
    config: DataConfig,
    name: str,
    split: str,
    folder: str,
) -> None:
    """Adds the reading, tokenising and writing of one split of one task to a pipeline."""
    import seqio

    task = seqio.TaskRegistry.get(name)
    label = f"{name} {split}"
    read = beam_utils.PreprocessTask(task, split, setup_fn=Register(config))
    examples = root | f"{label}: tokenise" >> read | f"{label}: shuffle" >> beam.Reshuffle()
    prefix = seqio.get_cached_tfrecord_prefix(folder, split)
    _ = examples | f"{label}: write" >> beam_utils.WriteExampleTfRecord(
        prefix, num_shards=len(read.shards)
    )
    _ = (
        examples
        | f"{label}: info" >> beam_utils.GetInfo(len(read.shards))
        | f"{label}: write info" >> beam_utils.WriteJson(seqio.get_cached_info_path(folder, split))
    )
    _ = (
        examples
        | f"{label}: count" >> beam_utils.GetStats(task.output_features)
        | f"{label}: write counts"
        >> beam_utils.WriteJson(seqio.get_cached_stats_path(folder, split))
    )


def seqio_file(path: str) -> Any:
    """Opens a file for writing text, wherever it is."""
    import tensorflow as tf

    return tf.io.gfile.GFile(path, "w")


def _modules() -> tuple[Any, Any]:
    try:
        import apache_beam
        from seqio import beam_utils
    except ImportError as err:
        raise UserError(
            f"Offline caching needs Apache Beam ({err}): pip install 'jaxlt[beam]', in an "
            "environment of its own if it is at odds with the versions of this one."
        ) from None
    return apache_beam, beam_utils
