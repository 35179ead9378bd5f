"""Translation: tags, both directions, one side of the split for both, and what is refused."""

from dataclasses import replace

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_mixture
from jaxlt.data.seqio_tasks import mixtures
from jaxlt.data.sources.splits import Split
from jaxlt.data.sources.translation import pairs
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError

BYTES = open_vocabulary(VocabularyConfig())


def test_translation_is_tagged_and_goes_both_ways(tmp_path):
    lines = [f"one {i}\tmoja {i}" for i in range(30)]
    (tmp_path / "eng_Latn-swh_Latn.tsv").write_text("\n".join(lines) + "\n")
    config = DataConfig(
        sources=str(tmp_path),
        objective="translation",
        inputs_length=40,
        targets_length=16,
        batch_size=4,
        held_out=0.0,
        cache_dir=str(tmp_path / "cache"),
    )
    mixture = open_mixture(config)
    assert mixture.languages == ("eng_Latn", "swh_Latn")
    for step in range(5):
        batch = mixture.rows(step, 0, 4)
        for row in range(4):
            inputs = BYTES.decode(batch["encoder_input_tokens"][row])
            targets = BYTES.decode(batch["decoder_target_tokens"][row])
            end = int(batch["target_language"][row])
            assert inputs.startswith(f"<2{mixture.languages[end]}> ")
            assert batch["language"][row] == 1 - end
            assert inputs.split("> ")[1].startswith("one" if end else "moja")
            assert targets.startswith("moja" if end else "one")
    packed = open_mixture(replace(config, packing="mixed")).rows(0, 0, 2)
    first = packed["encoder_segment_ids"] == 1
    assert (packed["encoder_language_ids"][0][first[0]] == packed["language"][0]).all()
    one_way = open_mixture(replace(config, both_directions=False))
    assert [i.name for i in one_way.info()] == ["eng_Latn-swh_Latn"]
    with pytest.raises(UserError, match="no bitext of language 'fra_Latn'"):
        open_mixture(replace(config, languages=("fra_Latn", "eng_Latn")))
    with pytest.raises(UserError, match="no template"):
        replace(config, tag="<2{language}>")
    with pytest.raises(UserError, match="named by both languages"):
        (tmp_path / "swh_Latn.tsv").write_text("a\tb\n")
        open_mixture(config)


def test_both_directions_are_on_one_side_of_the_split(tmp_path):
    lines = [f"one {i}\tmoja {i}" for i in range(60)]
    (tmp_path / "eng_Latn-swh_Latn.tsv").write_text("\n".join(lines) + "\n")
    path = (str(tmp_path / "eng_Latn-swh_Latn.tsv"),)
    there = list(pairs(path, "eng_Latn-swh_Latn", "train", Split(0.3)))
    back = list(pairs(path, "swh_Latn-eng_Latn", "train", Split(0.3)))
    assert [(b, a) for a, b in back] == there and 25 < len(there) < 55
    assert all(Split(0.3).of(a) == "train" for a, _ in there)


def test_seqio_has_the_same_pairs(tmp_path):
    seqio = pytest.importorskip("seqio")
    (tmp_path / "eng_Latn-swh_Latn.tsv").write_text("one\tmoja\ntwo\tmbili\n")
    config = DataConfig(
        mixture="translated",
        sources=str(tmp_path),
        objective="translation",
        held_out=0.0,
        cache_dir=str(tmp_path / "cache"),
    )
    mixtures.register(config)
    task = seqio.get_mixture_or_task("translated.swh_Latn:eng_Latn")
    found = task.get_dataset({"inputs": 40, "targets": 16}, "train", shuffle=False)
    texts = [BYTES.decode(e["inputs"]) for e in found.as_numpy_iterator()]
    assert texts == ["<2eng_Latn> moja", "<2eng_Latn> mbili"]
