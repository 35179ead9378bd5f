"""Transfer by the shipped gin files: made languages, and a swap to one without task data."""

import json
import math
import re

import numpy as np
import pytest

from jaxlt.commands.main import main
from jaxlt.config import load_factory
from jaxlt.data.synth.families import languages
from jaxlt.metrics.result_file import read

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]

FACTORY = (
    "--gin_file=data/synth.gin",
    "--gin.FactoryConfig.families=[@Family()]",
    "--gin.Family.languages=3",
    "--gin.Family.dialects=0",
    "--gin.FactoryConfig.sentences=600",
    "--gin.FactoryConfig.annotated=200",
)
SHRUNK = (
    "--gin_file=tiny.gin",
    "--gin.T5Config.emb_dim=32",
    "--gin.T5Config.mlp_dim=48",
    "--gin.T5Config.head_dim=16",
    "--gin.BATCH_SIZE=8",
    "--gin.INPUTS_LENGTH=64",
    "--gin.TRAIN_STEPS=6",
    "--gin.TrainConfig.eval_every=6",
    "--gin.CheckpointConfig.every=6",
    "--gin.MeshConfig.data=8",
    "--gin.DataConfig.held_out=0.1",
)
TEXT = ("--gin_file=models/tiny.gin",)
SEEN, _, UNSEEN = (
    spec.code for spec in languages(load_factory(["data/synth.gin"], [f[6:] for f in FACTORY[1:]]))
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXLT_CACHE", str(folder / "cache"))
        yield folder


def train(home, name, *files, base=None, kind="synthetic_text", **macros):
    """Trains a few steps of what the gin files say; returns the workdir."""
    named = [f"--gin_file={file}" for file in files]
    given = [f"--gin.{key.replace('__', '.')}={value}" for key, value in macros.items()]
    start = [f"--gin.run.init_from={base}"] if base else []
    argv = ["train", *TEXT, *named, *FACTORY, *SHRUNK, f"--gin.KIND={kind}", *given, *start]
    assert main([*argv, f"--gin.WORKDIR={home / name}"]) == 0
    return home / name


def scores(workdir, *flags):
    """The negative log-likelihood by language that `jaxlt eval` writes."""
    path = workdir / "results.jsonl"
    path.unlink(missing_ok=True)
    assert main(["eval", f"--workdir={workdir}", "--limit=16", *flags]) == 0
    return {r.language: r.value for r in read(path) if r.metric == "nll"}


@pytest.fixture(scope="module")
def base(home):
    return train(home, "base", "runs/pretrain.gin")


TASK = {"kind": "synthetic_tagging", "TARGETS_LENGTH": 64}
TESTED = {
    "DataConfig__languages": f"['{SEEN}', '{UNSEEN}']",
    "DataConfig__rates": f"[('{SEEN}', 1.0)]",
}


@pytest.mark.nightly("tests/end_to_end/test_docs_transfer.py::test_mad_x_as_text")
def test_mad_x(home, base, capsys):
    bank = train(
        home,
        "bank",
        "runs/adapt.gin",
        "modules/mad_x.gin",
        base=base,
        LANGUAGES=8,
        LEARNING_RATE=0.1,
    )
    library = home / "library"
    assert main(["modules", "save", f"--workdir={bank}", f"--library={library}"]) == 0
    capsys.readouterr()
    assert main(["modules", "list", str(library), "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {f"lang/{UNSEEN}", f"embedding/{UNSEEN}"} <= {m["name"] for m in listed}

    lines, out = home / "in.txt", home / "out.txt"
    lines.write_text("some <extra_id_0> text\nmore\n", encoding="utf-8")
    average = f"--modules=lang={SEEN}+{UNSEEN},embedding={SEEN}"
    infer = ["infer", f"--workdir={bank}", average, f"--library={library}", "--max_length=8"]
    assert main([*infer, f"--output={out}", str(lines)]) == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2

    files = ("runs/finetune.gin", "modules/mad_x.gin", "modules/mad_x_task.gin")
    more = {"LANGUAGES": 8, "LIBRARY": library} | TASK | TESTED
    task = train(home, "task", *files, base=base, **more)
    arrays = json.loads((task / "checkpoints/6/jaxlt.json").read_text())["arrays"]
    trained = [n for n in arrays if n.startswith("trainable/")]
    assert trained and all("/task/" in n for n in trained)

    found = scores(task, f"--languages={UNSEEN}")  # its own language module, by its route
    assert np.isfinite(found[UNSEEN])
    through = f"--modules=lang={SEEN},embedding={SEEN}"
    other = scores(task, f"--languages={UNSEEN}", through, f"--library={library}")
    assert other[UNSEEN] != found[UNSEEN]
    own = f"--modules=lang={UNSEEN},embedding={UNSEEN}"
    same = scores(task, f"--languages={UNSEEN}", own, f"--library={library}")
    assert same[UNSEEN] == pytest.approx(found[UNSEEN], rel=1e-5)
    without = scores(task, f"--languages={UNSEEN}", "--modules=lang=none,embedding=none")
    assert without[UNSEEN] != found[UNSEEN]


@pytest.mark.nightly("tests/inference/test_compose.py::test_what_was_loaded_is_said")
def test_a_module_of_another_backbone_is_refused(home, base, capsys):
    elsewhere = train(home, "elsewhere", "runs/pretrain.gin", SEED=1)
    files = ("runs/finetune.gin", "modules/mad_x.gin", "modules/mad_x_task.gin")
    more = {"LANGUAGES": 8, "LIBRARY": home / "library"} | TASK | TESTED
    with pytest.raises(AssertionError):
        train(home, "refused", *files, base=elsewhere, **more)
    assert "another backbone" in " ".join(capsys.readouterr().err.split())


def test_lora_merges_into_a_plain_backbone(home, base, capsys):
    lora = train(
        home,
        "lora",
        "runs/finetune.gin",
        "modules/lora.gin",
        base=base,
        TrainConfig__trainable="['modules/.*']",
        LEARNING_RATE=0.1,
        **TASK,
        **TESTED,
    )
    found = scores(lora, f"--languages={UNSEEN}")
    merged = home / "merged"
    assert main(["modules", "merge", f"--workdir={lora}", str(merged)]) == 0
    capsys.readouterr()
    assert main(["convert", "--inspect", str(merged)]) == 0
    assert "modules" not in capsys.readouterr().out
    plain = train(
        home,
        "plain",
        "runs/finetune.gin",
        base=merged,
        TRAIN_STEPS=1,
        LEARNING_RATE=0.0,
        **TASK,
        **TESTED,
    )
    again = scores(plain, f"--languages={UNSEEN}", "--step=0")
    assert again[UNSEEN] == pytest.approx(found[UNSEEN], rel=1e-5)


def sparse_delta(home, name, base, files, count=500, **more):
    """Both phases of LT-SFT: all change freely, then the entries that changed most, from zero."""
    first, last = files[:1], files[1:]
    full = train(home, f"{name}_full", *first, "runs/lt_sft_full.gin", *last, base=base, **more)
    mask, values = home / f"{name}_mask.safetensors", home / f"{name}.safetensors"
    cut = ["modules", "sparsify", "--delta=lang"]
    assert main([*cut, f"--workdir={full}", f"--out={mask}", f"--count={count}"]) == 0
    more = more | {"MASK": mask}
    sparse = train(home, name, *first, "runs/lt_sft_sparse.gin", *last, base=base, **more)
    assert main([*cut, f"--workdir={sparse}", f"--out={values}", "--values"]) == 0
    return sparse, values


@pytest.mark.nightly("tests/end_to_end/test_docs_transfer.py::test_lt_sft_as_text")
def test_lt_sft(home, base):
    deltas = {}
    for code in (SEEN, UNSEEN):
        rates = {"DataConfig__rates": f"[('{code}', 1.0)]"}
        sparse, deltas[code] = sparse_delta(home, code, base, ["runs/adapt.gin"], **rates)
        arrays = json.loads((sparse / "checkpoints/6/jaxlt.json").read_text())["arrays"]
        held = sum(math.prod(a[0]) for n, a in arrays.items() if n.startswith("trainable/"))
        assert held == 500
    files = ["runs/finetune.gin", "modules/language_delta.gin"]
    more = TASK | TESTED | {"LANGUAGE_DELTA": deltas[SEEN], "L1": 0.0}
    task, _ = sparse_delta(home, "sparse_task", base, files, **more)
    found = scores(task, f"--languages={UNSEEN}")
    swap = f"--gin.LANGUAGE_DELTA={deltas[UNSEEN]}"
    assert scores(task, f"--languages={UNSEEN}", swap)[UNSEEN] != found[UNSEEN]
    asked = ["eval", f"--workdir={task}", f"--languages={SEEN}", "--limit=4", "--max_length=8"]
    for more in ([], ["--beams=2"], [swap]):  # the delta lies in another folder, by its path
        assert main([*asked, "--answers", *more]) == 0
    assert len(list((task / "answers").iterdir())) == 3
    named = {row.modules for row in read(task / "results.jsonl") if row.metric == "accuracy"}
    files = {name for modules in named for name, _ in modules}
    assert {f"source={path.name}" for path in deltas.values()} <= files, files


def test_x_mod(home):
    """A body with a module a language from pretraining on; the task trains the body alone."""
    pretrained = train(home, "x_mod", "runs/pretrain.gin", "modules/x_mod.gin", LANGUAGES=8)
    files = ("runs/finetune.gin", "modules/x_mod.gin", "runs/x_mod_finetune.gin")
    library = home / "x_mod_library"
    assert main(["modules", "save", f"--workdir={pretrained}", f"--library={library}"]) == 0
    fill = {"run__library": library, "run__modules": "['lang=*']"}
    task = train(home, "x_mod_task", *files, base=pretrained, LANGUAGES=8, **fill, **TASK, **TESTED)
    arrays = json.loads((task / "checkpoints/6/jaxlt.json").read_text())["arrays"]
    trained = [n for n in arrays if n.startswith("trainable/")]
    assert trained and not any(re.search("modules|token_embedder", n) for n in trained)
    own = scores(task, f"--languages={UNSEEN}")
    other = scores(
        task,
        f"--languages={UNSEEN}",
        f"--modules=lang={SEEN}",
        f"--library={library}",
        "--force_modules",
    )
    assert own[UNSEEN] != other[UNSEEN]
