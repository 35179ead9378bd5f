"""X-MOD: the two norms, and what trains when."""

from jaxlt import config
from jaxlt.engine.state import partition
from jaxlt.models.init import count, describe
from jaxlt.modules.site import plug
from jaxlt.modules.x_mod import XMod
from tests.conftest import make_config
from tests.test_gin_configs import command, run_of


def leaves_of(**settings):
    return describe(make_config(plugs=(plug(XMod, "lang", routes=3, **settings),)))


def modules(leaves):
    return {n: leaf for n, leaf in leaves.items() if n.startswith("modules/")}


def test_own_and_shared_norm():
    own, shared = modules(leaves_of()), modules(leaves_of(norm="shared"))
    name = "modules/encoder/layers/mlp_out/lang/norm/scale"
    assert own[name].shape == (2, 3, 16) and own[name].axes[:2] == ("layers", "routes")
    assert shared[name].shape == (2, 16) and "routes" not in shared[name].axes
    assert count(own) == 4 * 3 * (2 * 8 * 16 + 16)
    assert count(shared) == 4 * (3 * 2 * 8 * 16 + 16)


def trains(file):
    """Names that learn and names that rest in the run of a gin file's command, made tiny."""
    run = run_of(*command(file)[2:])
    return partition(
        describe(make_config(plugs=run.model.plugs)), run.train.trainable, run.train.frozen
    )


def test_pretraining_trains_everything():
    learns, rests = trains("modules/mmt5.gin")
    assert not rests and any(n.startswith("modules/") for n in learns)


def test_fine_tuning_freezes_embeddings_and_modules():
    learns, rests = trains("runs/x_mod_finetune.gin")
    assert set(rests) == {
        n for n in [*learns, *rests] if n.startswith(("modules/", "params/token"))
    }


def test_fine_tuning_of_mmt5_leaves_the_decoders_cross_attention():
    learns, _ = trains("runs/mmt5_finetune.gin")
    decoder = {n for n in learns if n.startswith("params/decoder/")}
    cross = ("encoder_decoder_attention/", "pre_cross_attention_layer_norm/", "relpos_bias/")
    assert decoder and all(any(part in n for part in cross) for n in decoder)
    assert any(n.startswith("params/encoder/") for n in learns)
    assert not any(n.startswith("modules/") for n in learns)


def test_a_new_language_trains_its_slot_alone():
    """Of a shared norm, where the run freezes what mmt5.gin says to freeze then."""
    files = ["models/byt5_small.gin", "runs/adapt.gin", "modules/mmt5.gin"]
    given = ["lang/plug.norm='own'", "TEXT='t'", "INIT_FROM='c'", "WORKDIR='w'"]
    run = config.load(files, given)
    leaves = describe(make_config(plugs=run.model.plugs))
    learns, _ = partition(leaves, run.train.trainable, run.train.frozen)
    assert learns and all("routes" in leaves[n].axes for n in learns)
    leaves = leaves_of(norm="shared")
    learns, _ = partition(leaves, run.train.trainable, ("modules/.*norm/scale",))
    assert learns and all("routes" in leaves[n].axes for n in learns)
