"""What Results say of how a number was asked for."""

import dataclasses
from types import SimpleNamespace

import pytest

from jaxlt.data import mixtures
from jaxlt.data.config import DataConfig
from jaxlt.data.inventory import Inventory
from jaxlt.errors import UserError
from jaxlt.inference import provenance
from jaxlt.inference.provenance import Evaluation, settings_of


def settings(*overrides, **asked):
    return settings_of(Evaluation(overrides=overrides, **asked))


def test_settings_are_what_a_value_may_depend_on():
    """A row that is measured again with another cache or mesh takes the former one's place."""
    counted = ("DataConfig.held_out=0.2", "eval/DataConfig.split=test", "BATCH_SIZE=8")
    harmless = (
        "DataConfig.cache_dir=elsewhere",
        "eval/jaxlt.data.config.DataConfig.cache_dir=elsewhere",
        "T5Config.attention=plain",
        "run.library=modules",
        "MeshConfig.data=2",
        "CompilerConfig.cpu=()",
        "lang/plug.routing=gather",
    )
    assert settings(*harmless, limit=None) == ()
    given = settings(harmless[0], *counted, harmless[4], limit=5)
    assert given == (("limit", "5"), *(("gin", text) for text in counted))


@pytest.mark.parametrize(
    ("flag", "asked"),
    [
        ("force", {"force": "a"}),
        ("labels", {"labels": ("a",)}),
        ("choices", {"labels": ("a",), "choices": "labels.txt"}),
    ],
)
def test_heads_have_labels_of_their_own(flag, asked):
    with pytest.raises(UserError, match=f"--{flag} is for models that write text"):
        Evaluation(**asked).check_free()
    Evaluation().check_free()


def test_amounts_are_counted_once_however_often_a_run_is_evaluated(monkeypatch, tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "eng_Latn.txt").write_text("".join(f"line {i}\n" for i in range(90)))
    data = DataConfig(sources=str(tmp_path / "t"), cache_dir=str(tmp_path / "c"), inputs_length=16)
    run = SimpleNamespace(data=dataclasses.replace(data, amounts={"eng_Latn": "100 tokens"}))
    opened, real = [], mixtures.open_mixture
    monkeypatch.setattr(mixtures, "open_mixture", lambda *a, **k: opened.append(a) or real(*a, **k))
    monkeypatch.setattr(provenance.opening, "inventory_of", lambda run, held: Inventory({}))
    told = [provenance._trained_amounts(run, None) for _ in range(3)]
    assert told[0]["eng_Latn"]["tokens"] == 100 and told == 3 * told[:1] and len(opened) == 1
    run.data = data
    assert provenance._trained_amounts(run, None) == {} and len(opened) == 1
