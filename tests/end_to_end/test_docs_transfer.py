"""The commands of docs/transfer.md, as they stand there, on treebanks and made small."""

import gzip
import json
import math
import os
import re
import shlex
from pathlib import Path

import pytest

from jaxlt.commands.main import main
from jaxlt.metrics.result_file import read
from tests.conftest import REPOSITORY
from tests.data.head_files import write_treebanks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]
PAGE = REPOSITORY / "docs" / "transfer.md"
README = REPOSITORY / "README.md"
SMALL = (
    "--gin_file=tiny.gin",
    "--gin.T5Config.emb_dim=32",
    "--gin.T5Config.mlp_dim=48",
    "--gin.T5Config.head_dim=16",
    "--gin.T5Config.encoder_layers=1",
    "--gin.T5Config.scan_layers=False",
    "--gin.TRAIN_STEPS=4",
    "--gin.TrainConfig.eval_every=4",
    "--gin.CheckpointConfig.every=4",
    "--gin.DataConfig.held_out=0.1",
)
ONE_DECODER_LAYER = "--gin.T5Config.decoder_layers=1"
FEW = "--limit=8"  # of each language's examples


def block_of(mark: str, page: Path = PAGE) -> str:
    """The lines of the block under a mark."""
    (block,) = re.findall(rf"<!-- {mark} -->\n```sh\n(.*?)\n```", page.read_text(), re.S)
    return str(block)


def commands(mark: str, page: Path = PAGE) -> list[list[str]]:
    """The commands of the block under a mark, without 'jaxlt'."""
    block = block_of(mark, page)
    lines = block.replace("\\\n", " ").splitlines()
    assert all(line.startswith("jaxlt ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def small(argv: list[str]) -> list[str]:
    """A command with what makes it small behind it."""
    if argv[0] == "train":  # tiny.gin takes INIT_FROM away
        argv = [argument.replace("--gin.INIT_FROM=", "--gin.run.init_from=") for argument in argv]
        has_heads = "--gin_file=runs/heads.gin" in argv
        lengths = ["--gin.DataConfig.length_buckets=0", "--gin.DataConfig.words_length=32"]
        return [*argv, *SMALL, *(lengths if has_heads else [ONE_DECODER_LAYER])]
    if argv[0] == "eval":
        return [*argv, FEW]
    return [re.sub(r"--count=\d+", "--count=500", argument) for argument in argv]


def follow(mark: str, page: Path = PAGE, **instead: str) -> None:
    """Runs the commands under a mark, some words exchanged, in the current folder."""
    for argv in commands(mark, page):
        for old, new in instead.items():
            argv = [argument.replace(old, new) for argument in argv]
        assert main(small(argv)) == 0, argv


def rows_of(workdir: str, metric: str) -> dict[str, float]:
    """By language, what `jaxlt eval` wrote of a run."""
    rows = read(Path(workdir, "results.jsonl"))
    return {r.language: r.value for r in rows if r.metric == metric and r.value is not None}


def welsh(workdir: str, *flags: str) -> float:
    """The negative log-likelihood of a few Welsh test examples."""
    Path(workdir, "results.jsonl").unlink(missing_ok=True)
    argv = ["eval", f"--workdir={workdir}", "--languages=cym_Latn", "--split=test", FEW, *flags]
    assert main(argv) == 0
    return rows_of(workdir, "nll")["cym_Latn"]


def trained(workdir: str) -> dict[str, int]:
    """How many values of each array a run trained."""
    arrays = json.loads(Path(workdir, "checkpoints/4/jaxlt.json").read_text())["arrays"]
    return {n: math.prod(a[0]) for n, a in arrays.items() if n.startswith("trainable/")}


def write_files(folder: Path) -> None:
    """Texts and small treebanks of English and Welsh, made ones where the real are missing."""
    given = os.environ.get("JAXLT_SHARED_DATA", REPOSITORY.parent / "shared" / "data")
    made = write_treebanks(folder / "made", train=120)
    (folder / "my_texts").mkdir()
    (folder / "my_treebanks").mkdir()
    for language, treebank, instead in (
        ("eng_Latn", "en_ewt", "en_a"),
        ("cym_Latn", "cy_ccg", "fr_b"),
    ):
        for split, other in (("train", "train"), ("dev", "dev"), ("test", "dev")):
            file = Path(given) / "ud" / f"{treebank}-{split}.conllu.gz"
            if file.is_file():
                whole = gzip.decompress(file.read_bytes()).decode()
            else:
                whole = (made / f"{instead}-{other}.conllu").read_text("utf-8")
            sentences = whole.split("\n\n")
            few = "\n\n".join(sentences[:40]) + "\n\n"
            (folder / "my_treebanks" / f"{treebank}-{split}.conllu").write_text(few, "utf-8")
            if split == "train":
                lines = [" ".join(re.findall(r"(?m)^\d+\t(\S+)", one)) for one in sentences[:300]]
                (folder / "my_texts" / f"{language}.txt").write_text("\n".join(lines), "utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with texts, treebanks and a backbone, under the names that the page gives them."""
    folder = tmp_path_factory.mktemp("page")
    write_files(folder)
    pretrain = ["train", "--gin_file=models/byt5_small.gin", "--gin_file=runs/pretrain.gin"]
    pretrain += ["--gin.TEXT=my_texts", "--gin.WORKDIR=checkpoints/byt5_small", *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXLT_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        assert main([*pretrain, ONE_DECODER_LAYER]) == 0
        yield folder


@pytest.fixture(scope="module")
def library(home):
    """Language modules, each kept alone."""
    follow("mad-x languages")
    return home / "library"


@pytest.fixture(scope="module")
def deltas(home):
    """Sparse deltas of both languages."""
    follow("lt-sft language")
    follow("lt-sft language", cym="eng")
    return home / "deltas"


def test_the_readme_gives_the_same_commands():
    both = f"{block_of('mad-x languages')}\n{block_of('mad-x text')}\n"
    assert both in README.read_text()


def test_the_readmes_zero_shot(home):
    follow("zero-shot", README, **{"runs/tagger": "runs/zero_shot"})
    assert set(rows_of("runs/zero_shot", "accuracy")) >= {"eng_Latn", "cym_Latn"}
    import jaxlt

    (tags,) = jaxlt.load("runs/zero_shot").tag([["Habari", "yako", "?"]])
    assert len(tags) == 3


def test_mad_x_as_text(library, capsys):
    assert main(["modules", "list", str(library), "--json"]) == 0
    listed = {json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()}
    assert {"lang/eng_Latn", "lang/cym_Latn", "embedding/cym_Latn"} <= listed
    follow("mad-x text")
    assert {"eng_Latn", "cym_Latn"} <= rows_of("runs/task", "accuracy").keys()
    assert trained("runs/task") and all("/task/" in name for name in trained("runs/task"))

    found = welsh("runs/task")  # by its route
    kept = "--library=library"
    own = welsh("runs/task", "--modules=lang=cym_Latn,embedding=cym_Latn", kept)
    assert own == pytest.approx(found, rel=1e-5)
    assert welsh("runs/task", "--modules=lang=eng_Latn,embedding=eng_Latn", kept) != found
    assert welsh("runs/task", "--modules=lang=none,embedding=none") != found


def test_an_average_of_modules_writes(library):
    Path("in.txt").write_text("some <extra_id_0> text\nmore\n", encoding="utf-8")
    average = "--modules=lang=eng_Latn+cym_Latn,embedding=eng_Latn"
    asked = ["infer", "--workdir=runs/languages", average, "--library=library", "--max_length=8"]
    assert main([*asked, "--output=out.txt", "in.txt"]) == 0
    assert len(Path("out.txt").read_text(encoding="utf-8").splitlines()) == 2


def test_mad_x_with_heads(library):
    follow("mad-x heads")
    assert {"eng_Latn", "cym_Latn"} <= rows_of("runs/tagger", "accuracy").keys()


def test_lt_sft_as_text(deltas):
    follow("lt-sft text")
    assert "cym_Latn" in rows_of("runs/pos", "accuracy")
    for workdir in ("runs/cym", "runs/eng", "runs/pos"):
        assert sum(trained(workdir).values()) == 500  # of --count
    swapped = welsh("runs/pos", "--gin.LANGUAGE_DELTA=deltas/cym.safetensors")
    assert swapped != welsh("runs/pos")


def test_lt_sft_with_heads(deltas):
    follow("lt-sft heads")
    assert "cym_Latn" in rows_of("runs/tags", "accuracy")
    found = trained("runs/tags")
    assert {name.split("/")[1] for name in found} == {"deltas", "heads"}
    assert sum(size for name, size in found.items() if "/deltas/" in name) == 500
