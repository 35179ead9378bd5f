"""MAD-X and LoRA on a backbone of mT5-small's shape, 250,112 rows, with real text and trees.

Weights are drawn from the seed: what is shown is that shape, memory and files fit together.
"""

import itertools
import json
import resource

import pytest

from jaxlt.commands.main import main
from jaxlt.data.readers import conllu
from jaxlt.data.readers.problems import Problems

pytestmark = pytest.mark.nightly("tests/end_to_end/test_docs_transfer.py::test_mad_x_as_text")

SHAPE = (
    "--gin_file=models/mt5_small.gin",
    "--gin.VOCABULARY=bytes",
    "--gin.DataConfig.cache_dir={cache}",
    "--gin.BATCH_SIZE=8",
    "--gin.INPUTS_LENGTH=32",
    "--gin.DTYPE=float32",
    "--gin.TRAIN_STEPS=2",
    "--gin.MeshConfig.data=1",
    "--gin.MeshConfig.fsdp=8",
    "--gin.TrainConfig.log_every=1",
    "--gin.run.eval_data=None",
)
ENGLISH, OTHER = "eng_Latn", "mlt_Latn"
TREEBANKS = {ENGLISH: "en_ewt", OTHER: "mt_mudt"}
TASK = (
    "--gin_file=runs/finetune.gin",
    "--gin_file=data/tasks.gin",
    "--gin.KIND=tagging",
    f"--gin.NAMES={list(TREEBANKS.values())}",
    "--gin.TARGETS_LENGTH=32",
    f"--gin.DataConfig.languages={[ENGLISH, OTHER]}",
    f"--gin.DataConfig.rates=[('{ENGLISH}', 1.0)]",
)


def train(home, name, *flags):
    shape = [flag.format(cache=home / "cache") for flag in SHAPE]
    assert main(["train", *shape[:1], *flags, *shape[1:], f"--gin.WORKDIR={home / name}"]) == 0
    return home / name


def trained(workdir):
    arrays = json.loads((workdir / "checkpoints/2/jaxlt.json").read_text())["arrays"]
    return [n for n in arrays if n.startswith("trainable/")]


def write_texts(treebanks, folder):
    """The sentences of two treebanks as plain text, a file a language."""
    folder.mkdir()
    for language, name in TREEBANKS.items():
        path = next(treebanks.glob(f"{name}-train.conllu*"))
        found = conllu.read(str(path), Problems("skip"), trees=False)
        lines = (s.comment("text") or " ".join(s.forms) for s in itertools.islice(found, 300))
        (folder / f"{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_mad_x_and_lora(shared_data, tmp_path, capsys):
    trees, texts = shared_data / "ud", write_texts(shared_data / "ud", tmp_path / "texts")
    bank = train(
        tmp_path,
        "languages",
        "--gin_file=runs/adapt.gin",
        "--gin_file=modules/mad_x.gin",
        "--gin.LANGUAGES=2",
        "--gin.INIT_FROM=None",
        f"--gin.TEXT={texts}",
    )
    assert all("/lang/" in n or "/embedding/" in n for n in trained(bank))
    library = tmp_path / "library"
    assert main(["modules", "save", f"--workdir={bank}", f"--library={library}"]) == 0
    more = (f"--gin.TEXT={trees}", f"--gin.INIT_FROM={bank}")
    modules = ("--gin_file=modules/mad_x.gin", "--gin_file=modules/mad_x_task.gin")
    filled = ("--gin.LANGUAGES=2", f"--gin.LIBRARY={library}")
    task = train(tmp_path, "task", *TASK, *modules, *filled, *more)
    assert all("/task/" in n for n in trained(task))
    evaluated = ["eval", f"--workdir={task}", "--limit=8", "--split=validation"]
    assert main([*evaluated, f"--languages={OTHER}"]) == 0

    lora = ("--gin_file=modules/lora.gin", "--gin.TrainConfig.trainable=['modules/.*']")
    low_rank = train(tmp_path, "lora", *TASK, *lora, *more)
    assert all("/lora/" in n for n in trained(low_rank))
    merged = tmp_path / "merged"
    assert main(["modules", "merge", f"--workdir={low_rank}", str(merged)]) == 0
    assert "300,176,768 parameters" in capsys.readouterr().out
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 16 * 2**20  # KiB
