"""What Results say of how a number was asked for."""

import pytest

from jaxlt.errors import UserError
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
