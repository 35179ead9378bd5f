"""What Results say of how a number was asked for."""

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
