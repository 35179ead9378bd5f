"""Runs with heads: every recipe trains, on any encoder; what does not fit is said."""

import json
import re

import numpy as np
import pytest

from jaxlt.data import inventory
from jaxlt.engine.checkpoint.base import CheckpointBase
from jaxlt.metrics.result_file import read
from tests.data.head_files import write_entities, write_table, write_treebanks
from tests.end_to_end.conftest import arrays_in, assert_identical, told

pytestmark = pytest.mark.usefixtures("quick_compile")

MODEL = ("--gin_file=models/mlm_tiny.gin",)
SMALL = (
    "--gin_file=tiny.gin",
    "--gin.T5Config.emb_dim=16",
    "--gin.T5Config.mlp_dim=24",
    "--gin.T5Config.head_dim=8",
    "--gin.T5Config.encoder_layers=1",
    "--gin.TRAIN_STEPS=2",
    "--gin.INPUTS_LENGTH=48",
    "--gin.DataConfig.held_out=0.3",
)
TINY = ("--gin.ARC_DIM=8", "--gin.LABEL_DIM=4")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Made files by the recipe that learns from them."""
    root = tmp_path_factory.mktemp("corpora")
    found = {name: write_treebanks(root / "ud") for name in ("tagging", "parsing")}
    found["entities"] = write_entities(root / "ner")
    for kind in ("topics", "pairs", "questions"):
        found[kind] = write_table(root / kind / f"{kind}.jsonl", kind)
    return found


def arguments(corpora, workdir, recipe, *more, verb="train", model=MODEL):
    files = (*model, "--gin_file=runs/heads.gin", f"--gin_file=heads/{recipe}.gin", *SMALL)
    sizes = TINY if recipe == "parsing" else ()
    where = (f"--gin.TEXT={corpora[recipe]}", f"--gin.WORKDIR={workdir}")
    return [verb, *files, *sizes, *where, *more]


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", ["tagging", "parsing", "entities", "topics", "pairs", "questions"]
)
def test_a_recipe_trains_and_is_evaluated(command, corpora, tmp_path, recipe):
    status, _, errors = command(arguments(corpora, tmp_path, recipe))
    assert status == 0, errors
    last = told(tmp_path)[-1]
    assert last["step"] == 2 and 0 <= last["eval/accuracy_mean"] <= 1 and last["eval/nll"] > 0
    if recipe != "entities":
        assert {"eval/accuracy/eng_Latn", "eval/accuracy/fra_Latn"} <= last.keys()
    names = inventory.read(tmp_path / inventory.NAME)
    assert set(names.labels) == {recipe}
    assert kinds_in(tmp_path) == {f"heads {recipe}", "params encoder", "params token_embedder"}
    if recipe == "entities":
        text = tmp_path / "in.txt"
        text.write_text("Ada met Bo.\n")
        status, out, errors = command(["infer", f"--workdir={tmp_path}", str(text)])
        assert status == 0, errors
        assert [line.split("\t")[0] for line in out.split("\n")[1:5]] == ["Ada", "met", "Bo", "."]
        status, _, errors = command(
            ["infer", f"--workdir={tmp_path}", "--task=generate", str(text)]
        )
        assert status == 2 and "heads that label (entities)" in " ".join(errors.split())


@pytest.mark.slow
def test_a_dose_and_noise_train_and_all_is_scored(command, corpora, tmp_path):
    dosed = ("--gin_file=data/doses.gin", "--gin.AMOUNTS={'eng_Latn': 3, 'fra_Latn': 0}")
    noisy = ("--gin.TextConfig.noise=0.3", "--gin.TextConfig.labelled='both'")
    noisy += ("--gin.TextConfig.anew=True",)
    flags = arguments(corpora, tmp_path, "tagging", *dosed, *noisy)
    status, _, errors = command(flags)
    assert status == 0, errors
    status, _, errors = command(["eval", f"--workdir={tmp_path}", "--answers"])
    assert status == 0, errors
    scored = {row.target: row for row in read(tmp_path / "results.jsonl") if row.unit == "words"}
    assert {"eng_Latn", "fra_Latn"} <= scored.keys()
    for row in scored.values():
        english, french = (
            row.amounts[f"tagging.{of}"] for of in ("en_a.eng_Latn", "fr_b.fra_Latn")
        )
        assert english["examples"] == 3 and english["epoch"] == 3 / 8
        assert french == {"examples": 0, "tokens": 0, "epoch": 0}


def kinds_in(workdir):
    """What trained in a run: the first two parts of the names of its parameters."""
    names = arrays_in(workdir / "checkpoints" / "2")
    found = (re.match(r"\['trainable'\]\['(\w+)'\]\['(\w+)'\]", name) for name in names)
    return {" ".join(match.groups()) for match in found if match}


@pytest.mark.slow
def test_a_run_goes_on_with_its_bits_and_its_names(command, corpora, tmp_path):
    fixed = ("--gin.TrainConfig.seed=3", "--gin.ScheduleConfig.total_steps=4")
    fixed += ("--gin.ScheduleConfig.warmup_steps=1",)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert command(arguments(corpora, whole, "tagging", *fixed, "--gin.TRAIN_STEPS=4"))[0] == 0
    for steps in (2, 4):
        flags = arguments(corpora, parts, "tagging", *fixed, f"--gin.TRAIN_STEPS={steps}")
        assert command(flags)[0] == 0
    assert_identical(parts / "checkpoints" / "4", whole / "checkpoints" / "4")
    (parts / inventory.NAME).write_text("{")
    flags = arguments(corpora, parts, "tagging", *fixed, "--gin.TRAIN_STEPS=6")
    status, _, errors = command(flags)
    assert status == 2 and "inventory.json" in errors and "cannot be read" in errors


@pytest.mark.slow
def test_the_encoder_of_one_s_own_pretraining_is_taken_and_may_stay_frozen(
    command, shell, corpora, tmp_path
):
    own = tmp_path / "encoder"
    masked = ["train", *MODEL, "--gin_file=runs/mlm.gin", *SMALL, f"--gin.TEXT={shell.texts}"]
    masked += ["--gin.DataConfig.held_out=None"]  # as the others split these texts
    status, _, errors = command([*masked, f"--gin.WORKDIR={own}"])
    assert status == 0, errors
    frozen = ("--gin.TRAINABLE=['heads/.*']", f"--gin.run.init_from='{own}'")
    status, _, errors = command(arguments(corpora, tmp_path / "tags", "tagging", *frozen))
    assert status == 0, errors
    record = json.loads((tmp_path / "tags" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["step"] == 2
    assert kinds_in(tmp_path / "tags") == {"heads tagging"}
    # Trained further as a whole, it is the encoder of the next run.
    whole = tmp_path / "whole"
    status, _, errors = command(
        arguments(corpora, whole, "tagging", f"--gin.run.init_from='{own}'")
    )
    assert status == 0, errors
    before, after = CheckpointBase(own), CheckpointBase(whole)
    assert set(after.shapes) == {n for n in before.shapes if not n.startswith("mlm_head")}
    name = "encoder/layers_0/mlp/wo/kernel"
    assert np.abs(after.read(name) - before.read(name)).max() < 0.1
    status, _, errors = command(
        arguments(corpora, tmp_path / "next", "tagging", f"--gin.run.init_from='{whole}'")
    )
    assert status == 0, errors


@pytest.mark.slow
def test_the_encoder_of_an_imported_byt5(command, corpora, shared_data, tmp_path):
    folder = shared_data / "t5x" / "byt5_tiny"
    given = json.loads((folder / "config.json").read_text())
    sizes = {
        "vocab_rows": given["vocab_size"],
        "emb_dim": given["emb_dim"],
        "mlp_dim": given["mlp_dim"],
        "num_heads": given["num_heads"],
        "head_dim": given["head_dim"],
        "encoder_layers": given["num_encoder_layers"],
        "mlp_activations": tuple(given["mlp_activations"]),
    }
    flags = [f"--gin.T5Config.{name}={value}" for name, value in sizes.items()]
    (checkpoint,) = (folder / "legacy").iterdir()
    flags += [f"--gin.run.init_from='{checkpoint}'", "--gin.TRAINABLE=['heads/.*']"]
    model = ("--gin_file=models/byt5_small.gin",)
    status, _, errors = command(arguments(corpora, tmp_path, "tagging", *flags, model=model))
    assert status == 0, errors
    assert kinds_in(tmp_path) == {"heads tagging"}


@pytest.mark.slow
def test_modules_beneath_heads_are_saved_and_taken_by_another_run(command, corpora, tmp_path):
    plugged = ("--gin_file=modules/bottleneck.gin", "--gin.TRAINABLE=['heads/.*', 'modules/.*']")
    model = (*MODEL, plugged[0])
    first, library = tmp_path / "first", tmp_path / "library"
    status, _, errors = command(arguments(corpora, first, "tagging", *plugged[1:], model=model))
    assert status == 0, errors
    assert {name.split()[0] for name in kinds_in(first)} == {"heads", "modules"}
    asked = ["modules", "save", f"--workdir={first}", f"--library={library}"]
    status, _, errors = command(asked)
    assert status == 0, errors
    saved = sorted(p.relative_to(library).as_posix() for p in library.rglob("*.safetensors"))
    assert saved and not any("heads" in name for name in saved)


@pytest.mark.slow
def test_what_a_run_will_need_is_planned(command, corpora, tmp_path):
    flags = arguments(corpora, tmp_path / "w", "parsing", "--dry_run")
    status, said, errors = command(flags)
    assert status == 0, errors
    assert "heads: parsing" in said and "heads/parsing/arc_kernel" in said
    assert "and the evaluation's data could be read." in said
    assert not (tmp_path / "w").exists()
    status, said, errors = command([*arguments(corpora, "", "parsing", verb="plan"), "--compile"])
    assert status == 0, errors
    assert "temporaries, gradients included (compiled)" in said
