"""seqio's offline cache by Beam's direct runner: seqio reads from it what the task yields."""

import importlib.util

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.errors import UserError

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text").mkdir()
    for language, word in (("aaa_Latn", "one"), ("bbb_Latn", "two")):
        lines = [f"{word} and {n} more of it" for n in range(50)]
        (tmp_path / "text" / f"{language}.txt").write_text("\n".join(lines) + "\n")
    return DataConfig(
        mixture="beamed", sources=str(tmp_path / "text"), inputs_length=64, held_out=0.1
    )


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BEAM, reason="needs the extra `beam` (apache-beam)")
def test_seqio_reads_what_beam_wrote(config, tmp_path):
    import seqio

    from jaxlt.data.seqio_tasks import beam_cache

    folders = beam_cache.write(config, str(tmp_path / "caches"), ["--runner=DirectRunner"])
    assert sorted(folders) == ["beamed.aaa_Latn", "beamed.bbb_Latn"]
    seqio.set_global_cache_dirs([str(tmp_path / "caches")])
    try:
        task = seqio.get_mixture_or_task("beamed.aaa_Latn")
        assert task.cache_dir and task.get_cached_stats("train")["examples"] > 30
        lengths = {"inputs": 64, "targets": 24}
        cached = task.get_dataset(lengths, "train", use_cached=True, shuffle=False, seed=0)
        plain = task.get_dataset(lengths, "train", use_cached=False, shuffle=False, seed=0)
        cached, plain = (list(d.as_numpy_iterator()) for d in (cached, plain))
        assert len(cached) == len(plain)
        tokens = [sum(len(e["inputs"]) + len(e["targets"]) for e in d) for d in (cached, plain)]
        assert tokens[0] == tokens[1] and all(e["inputs"].dtype == np.int32 for e in cached)
    finally:
        seqio.set_global_cache_dirs([])


@pytest.mark.skipif(HAS_BEAM, reason="the extra `beam` is installed")
def test_without_beam_it_says_what_to_install(config, tmp_path):
    pytest.importorskip("seqio")
    from jaxlt.data.seqio_tasks import beam_cache

    with pytest.raises(UserError, match=r"jaxlt\[beam\]"):
        beam_cache.write(config, str(tmp_path))
