"""The cost table says what the formulas say."""

import pytest

from jaxlt.commands.main import main
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from jaxlt.plan.module_costs import forward_cost, module_costs
from tests.conftest import make_config
from tests.engine import jobs

D, M, LAYERS = 16, 4, 2  # width, bottleneck, layers a stack of the test model
WHOLE = plug(Bottleneck, "lang", reduction_factor=D // M)


def costs(*plugs, decoder_layers=0, **changes):
    """The costs of plugs in an encoder alone, of which less is to trace."""
    model = {"plugs": plugs, "decoder_layers": decoder_layers}
    job = jobs.job(model=model, trainable=("modules/.*",), **changes)
    return module_costs(job, inputs=8, targets=4)


def test_a_bottleneck_is_2mD_a_place():
    low = plug(Bottleneck, "lang", reduction_factor=D // M, sites="mlp_out")
    (cost,) = costs(low, decoder_layers=LAYERS)
    assert (cost.places, cost.slots) == (2 * LAYERS, 1)
    assert cost.parameters == 2 * LAYERS * 2 * M * D
    products = LAYERS * 2 * 2 * M * D  # of one token, which goes through one of the stacks
    assert products <= cost.flops < 1.5 * products


def test_a_bank_costs_a_row_one_slot():
    bank = plug(Bottleneck, "lang", reduction_factor=4, key="source", routes=8)
    adamw = {"name": "adamw"}
    (single,), (cost,) = costs(WHOLE, optimizer=adamw), costs(bank, optimizer=adamw)
    assert cost.slots == 8
    assert (cost.parameters, cost.flops) == (single.parameters, single.flops)
    assert cost.optimizer_bytes == 8 * single.optimizer_bytes > 0


def test_layers_left_out_cost_nothing():
    half = plug(Bottleneck, "lang", reduction_factor=4, leave_out=(-1,))
    (all_layers,), (fewer,) = costs(WHOLE), costs(half)
    assert 2 * fewer.parameters == all_layers.parameters
    assert 2 * fewer.places == all_layers.places
    assert fewer.flops < 0.6 * all_layers.flops


def test_adamw_keeps_two_values_a_parameter():
    (cost,) = costs(WHOLE, optimizer={"name": "adamw"})
    assert cost.optimizer_bytes == 2 * 4 * cost.parameters


def test_a_frozen_plug_has_no_optimizer_state():
    plugs = (WHOLE, plug(Bottleneck, "task", reduction_factor=4))
    model = {"plugs": plugs, "decoder_layers": 0}
    job = jobs.job(model=model, trainable=("modules/.*task.*",))
    frozen, trained = module_costs(job, inputs=8, targets=4)
    assert frozen.optimizer_bytes == 0 < trained.optimizer_bytes


def test_the_forward_pass_is_counted_by_row():
    config = make_config(decoder_layers=0)
    assert forward_cost(config, 16, 8) > 1.9 * forward_cost(config, 8, 4)


def test_the_table_on_the_screen(capsys):
    files = ("--gin_file=models/tiny.gin", "--gin_file=modules/bottleneck.gin")
    files += ("--gin.T5Config.encoder_layers=1", "--gin.T5Config.decoder_layers=1")
    assert main(["plan", "--modules", *files, "--gin_file=runs/adapt.gin"]) == 0
    text = capsys.readouterr().out
    assert "FLOPs/token" in text and "Bottleneck" in text


@pytest.mark.parametrize("flag", ["--modules"])
def test_nothing_plugged_in(capsys, flag):
    assert main(["plan", flag, "--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin"]) == 2
    assert "Nothing is plugged in" in " ".join(capsys.readouterr().err.split())
