"""What stages do, without their trainings: those are in test_recipes.py."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxlt.data.synth.families import Family
from jaxlt.errors import UserError
from jaxlt.experiments import verbs
from jaxlt.experiments.attempt import At
from jaxlt.experiments.stage import Cell
from jaxlt.metrics.result import Result


def at(folder: Path, seed: int = 1) -> At:
    folder.mkdir(parents=True, exist_ok=True)
    return At(folder, seed, Cell(seed=seed).stage("some", "synth"), lambda line: None)


def test_a_world_with_its_splits_and_a_vocabulary_whose_bytes_are_the_same_anywhere(
    tmp_path: Path,
) -> None:
    families = [{"languages": 2, "order": "SVO"}]
    sizes = {"sentences": 120, "annotated": 12, "labelled": 6, "opinions": 0, "parallel": 0}
    world = at(tmp_path / "world")
    assert verbs.synth({"families": families, **sizes}, world) == []
    trees = world.folder / "treebanks"
    parts = [(trees / f"qaa_Latn-{s}.conllu").read_text() for s in ("train", "dev", "test")]
    assert [part.count("# sent_id") for part in parts][:2] == [6, 2]
    assert "".join(parts) == (world.folder / "conllu" / "qaa_Latn.conllu").read_text()
    asked = {"text": str(world.folder / "text"), "languages": ["qab_Latn"], "size": 420}
    for name in "ab":
        assert verbs.vocabulary(asked, at(tmp_path / name)) == []
    one, other = ((tmp_path / name / verbs.PIECES).read_bytes() for name in "ab")
    assert one == other and len(one) > 1000


def test_real_data_is_gathered_or_missed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAL", str(tmp_path / "real"))
    asked = {"data": "$REAL", "languages": ["wol_Latn"]}
    with pytest.raises(UserError, match=r"no treebanks in '\$REAL' \('.*real/ud'\)"):
        verbs.gather(asked, at(tmp_path / "a"))
    (tmp_path / "real" / "ud").mkdir(parents=True)
    (tmp_path / "real" / "ud" / "wo_wtb-test.conllu.gz").write_bytes(b"x")
    bible = tmp_path / "real" / "mt" / "bible"
    bible.mkdir(parents=True)
    (bible / "wol_Latn.txt.gz").write_bytes(gzip.compress(b"a b\n\nc d\n"))
    assert verbs.gather(asked, at(tmp_path / "b")) == []
    assert (tmp_path / "b" / "text" / "wol_Latn.txt").read_text() == "a b\nc d\n"
    assert (tmp_path / "b" / "treebanks" / "wo_wtb-test.conllu.gz").is_file()
    with pytest.raises(UserError, match=r"no text '.*wolf_Latn.txt.gz'.* Did you mean 'wol_Latn'"):
        verbs.gather(asked | {"languages": ["wolf_Latn"]}, at(tmp_path / "c"))


def test_fields_that_are_not_there_are_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Family a 'langauges'.*Did you mean 'languages'"):
        verbs._made(Family, {"langauges": 3})
    assert verbs._made(Family, {"sentences": [3, 4, 5]}).sentences == (3, 4, 5)


def test_settings_are_gin_text_and_references_stay_references() -> None:
    said = verbs.texts({"A": "x", "b/plug.key": None, "c.d": "[@lang/plug()]", "e": [1, "y"]})
    assert said == ["A='x'", "b/plug.key=None", "c.d=[@lang/plug()]", "e=[1, 'y']"]


def test_rows_have_the_arm_and_trivial_answers_their_own() -> None:
    rows = [Result(metric="accuracy", value=0.5, n=2, command="jaxlt eval")]
    rows.append(Result(metric="accuracy", value=0.4, n=2, method="baseline/x", details={"a": 1}))
    told = verbs._told(rows, {"method": "target", "details": {"b": 2}})
    assert [row.method for row in told] == ["target", "baseline/x"]
    assert told[1].details == {"a": 1, "b": 2} and told[0].command == ""


def test_a_digest_is_of_values_whatever_files_hold_them(tmp_path: Path) -> None:
    def noted(**arrays: float) -> str:
        verbs._digest(tmp_path, {name: np.float32(value) for name, value in arrays.items()})
        return (tmp_path / "digest.txt").read_text()

    assert noted(a=1, b=2) == noted(b=2, a=1) != noted(a=2, b=1)


def test_a_shuffled_module_has_the_same_values_in_another_order(tmp_path: Path) -> None:
    from jaxlt.models.config import T5Config  # what brings jax
    from jaxlt.models.init import describe
    from jaxlt.modules import library
    from jaxlt.modules.bottleneck import Pfeiffer
    from jaxlt.modules.fingerprints import Fingerprint
    from jaxlt.modules.site import plug

    bottleneck = plug(Pfeiffer, "lang", routes=2, key="source")
    model = T5Config(vocab_rows=8, emb_dim=8, mlp_dim=8, num_heads=1, head_dim=8, encoder_layers=1,
                     decoder_layers=0, plugs=(bottleneck,))  # fmt: skip
    leaves = {n: leaf for n, leaf in describe(model).items() if n.startswith("modules/")}
    flat = {n: np.arange(np.prod(leaf.shape)).reshape(leaf.shape) for n, leaf in leaves.items()}
    axes = {n: leaf.axes for n, leaf in leaves.items()}
    told = {"axes": axes, "base": Fingerprint("x"), "language": "b"}
    saved = library.save(tmp_path, "lang/b", bottleneck, flat, 1, **told)
    mixed = verbs._shuffled(saved.path, 3)
    assert mixed.name == "lang/shuffled" and mixed.path.is_dir()
    before, after = saved.tensors(), mixed.tensors()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert (np.sort(value.ravel()) == np.sort(after[name].ravel())).all()
    assert any((value != after[name]).any() for name, value in before.items())


def test_every_verb_is_found_by_the_worker() -> None:
    from jaxlt.experiments.worker import verb_of

    assert verb_of("train") is verbs.train and len(verbs.VERBS) == 8


def test_a_run_that_was_asked_to_go_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxlt.config import recorded
    from jaxlt.errors import SAVED, HostGone
    from jaxlt.inference import training

    seen, folder = [], tmp_path / "all" / "2" / "some" / "attempts" / "000001"
    monkeypatch.setattr(recorded, "load_run", lambda *given: seen.append(given))
    monkeypatch.setattr(training, "train", lambda run: SimpleNamespace(ended="preempted"))
    with pytest.raises(HostGone, match="asked to go") as raised:
        verbs.train({"files": ["a.gin"], "settings": {"SEED": 2}}, at(folder))
    assert raised.value.status == SAVED
    here = dict.fromkeys(("WORKDIR", "run.workdir"), str(folder))
    here["DataConfig.cache_dir"] = str(tmp_path / "cache")
    assert seen == [(["a.gin"], ["SEED=2"], (), here)]
