"""Every recipe of gin_configs learns with its own defaults: its launch command, made small.

Optimizer, rate, normaliser and schedule are the recipe's; sizes, steps and data are small ones,
and so is its warm-up, a share of the run. All recipes share one vocabulary (bytes), one made
language, one backbone and one process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jaxlt.data.synth import write
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.synth.write import write_lines
from tests.conftest import PLAIN_KERNELS
from tests.data.head_files import write_table
from tests.test_gin_configs import FILES, command

STEPS = 60


class Recipe(NamedTuple):
    """share: of the first loss, what is gone at the end; more: arguments beside the command's."""

    share: float
    more: tuple[str, ...] = ()


TEXT_TO_TEXT = ("--gin.TARGETS_LENGTH=48",)
TASK = ("--gin.DataConfig.objective=text_to_text", *TEXT_TO_TEXT)  # in the place of text
LONGER = ("--gin.TRAIN_STEPS=150",)
NARROW = ("--gin.ARC_DIM=32", "--gin.LABEL_DIM=16")
MEMBERS = "--gin.TrainConfig.frozen=[]"  # none were trained before, which would stay as they are
ONE_LAYER = ("--gin.source/plug.layers=[-1]", "--gin.target/plug.layers=[-1]")
RECIPES = {
    "runs/pretrain.gin": Recipe(0.45, LONGER),
    "runs/small_language.gin": Recipe(0.05),
    "runs/mlm.gin": Recipe(0.25),
    "runs/adamw.gin": Recipe(0.4, TEXT_TO_TEXT),
    "runs/adapt.gin": Recipe(0.04),
    "runs/finetune.gin": Recipe(0.4, TEXT_TO_TEXT),
    "runs/heads.gin": Recipe(0.4),
    "runs/lab_mlm.gin": Recipe(0.4),
    "runs/lab_spans.gin": Recipe(0.4),
    "runs/lab_heads.gin": Recipe(0.4),
    "runs/lt_sft_full.gin": Recipe(0.06),
    "runs/lt_sft_sparse.gin": Recipe(0.04),
    "runs/mmt5_finetune.gin": Recipe(0.2, TEXT_TO_TEXT),
    "runs/x_mod_finetune.gin": Recipe(0.4, TEXT_TO_TEXT),
    "runs/right_language.gin": Recipe(0.1, TEXT_TO_TEXT),
    "heads/tagging.gin": Recipe(0.4),
    "heads/parsing.gin": Recipe(0.2, NARROW),
    "heads/entities.gin": Recipe(0.6),
    "heads/topics.gin": Recipe(0.4),
    "heads/pairs.gin": Recipe(0.6),
    "heads/questions.gin": Recipe(0.6),
    "modules/bitfit.gin": Recipe(0.3, TASK),
    "modules/bottleneck.gin": Recipe(0.35, TASK),
    "modules/ensemble.gin": Recipe(0.25, (*TASK, MEMBERS)),
    "modules/fusion.gin": Recipe(0.4, (*TASK, MEMBERS)),
    "modules/ia3.gin": Recipe(0.2, TASK),
    "modules/interventions.gin": Recipe(0.35, TASK),
    "modules/language_delta.gin": Recipe(0.15, TEXT_TO_TEXT),
    "modules/language_layer.gin": Recipe(0.25, (*TEXT_TO_TEXT, *ONE_LAYER)),
    "modules/lora.gin": Recipe(0.4, TASK),
    "modules/mad_x.gin": Recipe(0.06),
    "modules/mad_x_task.gin": Recipe(0.35, TEXT_TO_TEXT),
    "modules/mmt5.gin": Recipe(0.45, LONGER),
    "modules/nice.gin": Recipe(0.35, TASK),
    "modules/norm_scale.gin": Recipe(0.25, TASK),
    "modules/norms.gin": Recipe(0.25, TASK),
    "modules/parallel.gin": Recipe(0.5, TASK),
    "modules/pfeiffer.gin": Recipe(0.3, TASK),
    "modules/prefix.gin": Recipe(0.25, TASK),
    "modules/soft_prompt.gin": Recipe(0.25, TASK),
    "modules/x_mod.gin": Recipe(0.25),
}
STARTS = ("runs/pretrain.gin", "modules/mmt5.gin")  # the backbones of others
ENCODERS = ("mlm_tiny", "lab_mlm")
INCLUDED = "runs/base.gin"  # by recipes, which learn with it
LEARNS = [n for n in FILES if n.startswith(("runs/", "modules/", "heads/")) and n != INCLUDED]
SMALL = (
    "--gin_file=tiny.gin",
    "--gin.T5Config.encoder_layers=1",
    "--gin.T5Config.scan_layers=False",
    "--gin.T5Config.dropout=0.0",
    f"--gin.TRAIN_STEPS={STEPS}",
    "--gin.run.eval_data=None",
    "--gin.TrainConfig.patience=0",
    "--gin.CheckpointConfig.best_metric=None",
    "--gin.CheckpointConfig.every=1000",
)


def test_every_recipe_has_its_row():
    assert sorted(RECIPES) == sorted(LEARNS), "a new gin file needs its row above"


def write_data(root: Path) -> dict[str, Path]:
    """Writes made data in every form that the launch commands name.

    The backbone has seen the first language's text alone; a second family is what it adapts to.
    """
    families = (Family(languages=1), Family(languages=2))
    specs = write.write(FactoryConfig(families, sentences=600, annotated=300, opinions=300), root)
    seen, code, other = (spec.code for spec in specs)
    for source, name in (
        (f"text/{seen}.txt", f"seen/{seen}.txt"),
        (f"conllu/{code}.conllu", "treebanks/en_ewt-train.conllu"),
        (f"iob2/{code}.iob2", "entities/en_ewt-train.iob2"),
    ):
        (root / name).parent.mkdir()
        (root / source).rename(root / name)
    lines = (root / "text" / f"{other}.txt").read_text("utf-8").splitlines(keepends=True)
    (root / "small.txt").write_text("".join(lines[:400]), "utf-8")
    head, *rows = (line.split("\t") for line in (root / "parallel.tsv").read_text().splitlines())
    one, two = head.index(code), head.index(other)
    write_lines(root / "bitext" / f"{code}-{other}.tsv", (f"{r[one]}\t{r[two]}" for r in rows))
    write_lines(root / "pairs" / f"{code}.tsv", tagged(root / "treebanks/en_ewt-train.conllu"))
    for kind in ("pairs", "questions"):
        write_table(root / "tables" / kind / f"{kind}.jsonl", kind, 300)
    return {
        "my_texts": root / "text",
        "my_text/xx.txt": root / "small.txt",
        "my_pairs": root / "pairs",
        "my_bitext": root / "bitext",
        "my_treebanks": root / "treebanks",
        "my_entities": root / "entities",
    }


def tagged(treebank: Path) -> Iterator[str]:
    """A treebank's sentences with their tags: inputs<TAB>targets."""
    for sentence in treebank.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split("\t") for line in sentence.splitlines() if line[:1].isdigit()]
        if rows:
            yield " ".join(row[1] for row in rows) + "\t" + " ".join(row[3] for row in rows)


def tables(root: Path, name: str) -> Path:
    """What `my_tables` is to a recipe."""
    kind = Path(name).stem
    there = {"topics": root / "sentiment", "right_language": root / "parallel.tsv"}
    return there.get(kind, root / "tables" / kind)


def planned(root: Path, runs: Path) -> list[tuple[str, list[str]]]:
    """The commands of all recipes, their names for things replaced by what there is."""
    there = {k: str(v) for k, v in write_data(root).items()}
    there |= {
        "byt5_small_checkpoint": str(runs / "runs/pretrain.gin"),
        "mmt5_checkpoint": str(runs / "modules/mmt5.gin"),
        "x_mod_checkpoint": str(runs / "modules/mmt5.gin"),  # the same modules
        "runs/lab": str(runs / "runs/lab_mlm.gin"),
        "my.model": "bytes",
        "library": str(root / "library"),
        "masks/swh.safetensors": str(root / "mask.safetensors"),
        "masks/pos.safetensors": str(root / "mask.safetensors"),
        "deltas/eng.safetensors": str(root / "delta.safetensors"),
    }
    then = {  # what is made of a run for those that come after it
        "modules/mad_x.gin": ("save", f"--library={root / 'library'}"),
        "runs/lt_sft_full.gin": ("sparsify", f"--out={root / 'mask.safetensors'}", "--share=0.1"),
        "runs/lt_sft_sparse.gin": ("sparsify", f"--out={root / 'delta.safetensors'}", "--values"),
    }
    first = [*STARTS, *then]
    plan: list[tuple[str, list[str]]] = []
    for name in [*first, *(n for n in RECIPES if n not in first)]:
        given = dict(there)
        if name in STARTS:
            given["my_texts"] = str(root / "seen")
        elif RECIPES[name].more[:1] == TASK[:1]:
            given["my_texts"] = given["my_pairs"]
        argv = []
        for argument in command(name)[1:]:
            key, _, value = argument.partition("=")
            value = str(tables(root, name)) if value == "my_tables" else given.get(value, value)
            key = key.replace("--gin.INIT_FROM", "--gin.run.init_from")  # as tiny.gin sets that
            argv.append(f"{key}={value}" if value else key)
        argv += [*SMALL, *RECIPES[name].more, f"--gin.WORKDIR={runs / name}"]
        is_encoder = not {f"--gin_file=models/{m}.gin" for m in ENCODERS}.isdisjoint(argv)
        argv += [] if is_encoder else ["--gin.T5Config.decoder_layers=1"]
        has_heads = any(a.endswith(("runs/heads.gin", "runs/lab_heads.gin")) for a in argv)
        argv += ["--gin.DataConfig.length_buckets=0"] if has_heads else []  # one width to compile
        plan.append((name, argv))
        if name in then:
            plan.append(("", ["modules", *then[name], f"--workdir={runs / name}"]))
    return plan


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """What every recipe's losses were."""
    root = tmp_path_factory.mktemp("recipes")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "JAX_", "XLA_"))}
    env |= {"JAX_PLATFORMS": "cpu", "JAXLT_CACHE": str(root / "cache")}
    env["XLA_FLAGS"] = PLAIN_KERNELS  # most of it all is compiling
    host = [sys.executable, "-m", "tests.end_to_end.recipe_host", str(root / "runs")]
    plan = json.dumps(planned(root / "data", root / "runs"))
    done = subprocess.run(host, input=plan, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNS)
def test_a_recipe_learns(losses, name):
    found = losses[name]
    assert isinstance(found, list), found
    assert len(found) >= STEPS
    first, last = sum(found[:3]) / 3, sum(found[-8:]) / 8
    assert first - last >= RECIPES[name].share * first, f"{first:.3f} to {last:.3f}"
