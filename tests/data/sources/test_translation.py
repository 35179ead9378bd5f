"""Translation: tags, both directions, one side of the split for both, and what is refused."""

from dataclasses import replace

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.seqio_tasks import mixtures
from jaxlt.data.sources.splits import Split
from jaxlt.data.sources.translation import pairs
from jaxlt.data.tasks.kind import Wording, kind_of
from jaxlt.data.text.settings import TextConfig
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


@pytest.fixture
def origins(tmp_path):
    """Real pairs, other English for the same Swahili and more, and copies."""
    for folder, size, other in (("real", 40, "real"), ("bt", 60, "real"), ("copies", 20, "copies")):
        (tmp_path / folder).mkdir()
        lines = "".join(f"{folder} one {i}\t{other} moja {i}\n" for i in range(size))
        (tmp_path / folder / "eng_Latn-swh_Latn.tsv").write_text(lines)
    return DataConfig(
        sources=[str(tmp_path / folder) for folder in ("real", "bt", "copies")],
        objective="translation",
        inputs_length=60,
        targets_length=24,
        batch_size=40,
        held_out=0.1,
        tag="<2{target}> {origin}",
        origins={"back_translated": "bt/*", "copied": "copies/*.tsv"},
        cache_dir=str(tmp_path / "cache"),
    )


PAIR, BACK = "eng_Latn-swh_Latn", "swh_Latn-eng_Latn"


def rates_in(mixture):
    return {info.name: round(info.rate, 6) for info in mixture.info()}


def test_pairs_are_tagged_rated_and_dosed_by_their_origin(origins):
    marks = {"real": "", "bt": "<back_translated> ", "copies": "<copied> "}
    batch = open_mixture(origins).rows(0, 0, 40)
    seen = set()
    for row in range(40):
        inputs = BYTES.decode(batch["encoder_input_tokens"][row])
        end = ("eng_Latn", "swh_Latn")[int(batch["target_language"][row])]
        english = inputs if end == "swh_Latn" else BYTES.decode(batch["decoder_target_tokens"][row])
        where = next(folder for folder in marks if f"{folder} one" in english)
        said = inputs.removeprefix(f"<2{end}> {marks[where]}")
        assert len(said) < len(inputs) and said[0] != "<"
        seen.add((where, end))
    assert len(seen) == 6
    shares = {"real": 1.0, f"{PAIR}.back_translated": 3.0}
    rated = {f"{PAIR}.real": 0.125, f"{BACK}.real": 0.125, f"{PAIR}.back_translated": 0.75}
    assert rates_in(open_mixture(replace(origins, rates=shares))) == rated
    one = replace(origins, rates={PAIR: 1.0})
    third = round(1 / 3, 6)
    names = (f"{PAIR}.real", f"{PAIR}.back_translated", f"{PAIR}.copied")
    assert rates_in(open_mixture(one)) == dict.fromkeys(names, third)
    dosed = open_mixture(replace(origins, amounts={"back_translated": 7, f"{PAIR}.copied": 3}))
    sizes = {info.name: info.documents for info in dosed.info() if info.dosed}
    both = [f"{way}.{of}" for of in ("back_translated", "copied") for way in (PAIR, BACK)]
    assert sizes == dict(zip(both, (7, 7, 3, 3), strict=True))
    noisy = replace(origins, text=TextConfig(noise=1.0, edits=("insert",)), shuffle=False)
    inputs = [BYTES.decode(r) for r in open_mixture(noisy).rows(0, 0, 40)["encoder_input_tokens"]]
    assert all(text.split("> ")[0] in ("<2eng_Latn", "<2swh_Latn") for text in inputs)
    assert any(text.startswith("<2swh_Latn> <copied> ") for text in inputs)
    asked = kind_of("translation").inputs(("one", "swh_Latn"), Wording(tag=origins.tag))
    assert asked == "<2swh_Latn> one"  # as what is real


def test_only_real_pairs_are_evaluated_and_what_repeats_them_stays_out(origins):
    source = open_evaluation(origins)
    assert {text.name for text, *_ in source.examples()} == {PAIR, BACK}
    held = {BYTES.decode(targets) for _, _, targets in source.examples()}
    assert held and all("real" in text for text in held)
    mixture = open_mixture(origins)
    for text in mixture._make.texts:
        column = text.cache.columns["targets"]
        read = {BYTES.decode(column.whole(i)) for i in range(text.cache.examples)}
        assert read and not read & held
    with pytest.raises(UserError, match="Only real pairs are evaluated"):
        open_evaluation(replace(origins, rates={"copied": 1.0}))
    plain = replace(origins, origins=(), tag="<2{target}> ")
    assert open_evaluation(plain).num_rows > source.num_rows
    assert {i.name for i in open_mixture(plain).info()} == {PAIR, BACK}


def test_origins_that_cannot_be_are_told(origins):
    with pytest.raises(UserError, match=r"no file of the bitext fits 'btt/\*' of 'back'"):
        open_mixture(replace(origins, origins={"back": "btt/*"}))
    with pytest.raises(UserError, match="names 'real': an origin is a word"):
        replace(origins, origins={"real": "*"})
    with pytest.raises(UserError, match=r"'copid', unknown.*Did you mean"):
        open_mixture(replace(origins, rates={"copid": 1.0, "real": 1.0}))
    with pytest.raises(UserError, match=r"those of the objective 'translation', not of 'text_to"):
        replace(origins, objective="text_to_text")
    with pytest.raises(UserError, match=r"leave DataConfig\.origins out"):
        mixtures.register(origins)


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
