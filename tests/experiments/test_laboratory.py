"""The laboratory: which languages, and stages that studies share because they ask the same."""

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.stage import Cell, asked

AT = Cell("languages=4", 1)


def test_languages_are_nested_and_the_target_is_none_of_them() -> None:
    lab = Laboratory()
    most = lab.pretrained(17)
    assert most[:4] == ("qaa_Latn", "qab_Latn", "qba_Latn", "qca_Latn")
    assert all(lab.pretrained(n) == most[:n] for n in range(1, 18)) and len(set(most)) == 17
    assert lab.source == "qaa_Latn" and lab.target == "qac_Latn" and lab.target not in most
    with pytest.raises(UserError, match=r"18 languages, .* has 17 beside the target"):
        lab.pretrained(18)
    with pytest.raises(UserError, match=r"languages is at least 2"):
        Laboratory(languages=1)


def test_stages_are_shared_by_their_names_and_say_what_is_not_as_usual() -> None:
    base = Laboratory().backbone(AT, Laboratory().pretrained(4))
    again = Laboratory().backbone(Cell("other", 1), Laboratory().pretrained(4))
    assert base.path == again.path == "lab/1/mlm-4x2400" and asked(base) == asked(again)
    assert [need.path for need in base.needs] == ["lab/1/pieces", "lab/1/world"]
    wide = Laboratory(width=96, sentences=500)
    other = wide.backbone(AT, wide.pretrained(2), "x_mod", steps=30)
    assert other.name == "x_mod-2x30-sentences500-width96"
    long = Laboratory(length=64, text="mine/mlm.gin", rate=1e-3)
    named = long.backbone(AT, long.pretrained(1), steps=9).name
    assert named == "mlm-1x9-rate0.001-length64-textmlm"
    assert [need.name for need in other.needs] == ["pieces-sentences500", "world-sentences500"]


def test_the_vocabulary_has_not_met_the_target_and_bytes_need_none() -> None:
    lab = Laboratory()
    pieces = lab.vocabulary(AT)
    assert not isinstance(pieces, str)
    assert lab.target not in pieces.stage.config["languages"]
    assert len(pieces.stage.config["languages"]) == 17
    spelt = Laboratory(pieces=0)
    assert spelt.settings(AT)["VOCABULARY"] == "bytes"
    assert spelt.settings(AT)["T5Config.vocab_rows"] == 384


def test_a_tagger_from_scratch_has_more_steps() -> None:
    lab = Laboratory()
    base = lab.backbone(AT, lab.pretrained(2))
    tuned, scratch = (lab.tagger(AT, "t", start, [lab.target]) for start in (base, None))
    epochs = [stage.config["settings"]["EPOCHS"] for stage in (tuned, scratch)]
    assert epochs == [16, 48] and base in tuned.needs and base not in scratch.needs


def test_real_data_in_the_place_of_a_world() -> None:
    lab = Laboratory(data="$X", real=("eng_Latn", "deu_Latn"), unseen="wol_Latn", pieces=4000)
    assert (lab.source, lab.target, lab.pretrained(2)) == ("eng_Latn", "wol_Latn", lab.real)
    base = lab.backbone(AT, lab.pretrained(2))
    assert base.name == "mlm-2x1200-real-eng_Latn-pieces4000"
    assert {need.verb for need in base.needs} == {"gather", "vocabulary"}
    assert base.config["settings"]["T5Config.vocab_rows"] == 4096
    assert lab.tagger(AT, "t", base, [lab.target]).config["settings"]["TARGETS"] == []
    with pytest.raises(UserError, match=r"laboratory\.unseen the target"):
        Laboratory(data="x")
    with pytest.raises(UserError, match=r"3 languages, .* has 2 beside"):
        lab.pretrained(3)
