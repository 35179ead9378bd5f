"""Every shipped gin file: its header, its launch command, and the sizes it makes."""

import dataclasses
import functools
import re
import shlex

import pytest

from jaxlt import config
from jaxlt.commands.main import parse
from jaxlt.config import renamed
from jaxlt.config.derived import hardly_learns
from jaxlt.plan.compile import FALLBACKS

ROOT = config.shipped_configs()
FILES = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.gin"))
FILES = [name for name in FILES if not name.startswith(("experiments/", "lab/"))]  # test_recipes.py
LABELS = ("For", "Override", "Command")
SIZES = ("emb_dim", "mlp_dim", "num_heads", "head_dim", "encoder_layers", "decoder_layers")
PARAMETERS = {  # published, or counted from the published shapes (umT5)
    "mt5_small": 300_176_768,
    "mt5_base": 582_401_280,
    "mt5_large": 1_229_581_312,
    "mt5_xl": 3_742_619_648,
    "mt5_xxl": 12_921_057_280,
    "byt5_small": 299_637_760,
    "byt5_base": 581_653_248,
    "byt5_large": 1_228_183_552,
    "byt5_xl": 3_737_801_728,
    "byt5_xxl": 12_906_899_328,
}


def header(name):
    """Returns the header of a gin file: label -> text, its first line under ''."""
    lines = []
    for line in (ROOT / name).read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" "))
    parts, label = {"": ""}, ""
    for line in lines:
        match = re.match(r"([A-Z]\w+):\s*(.*)$", line)
        if match:
            label, line = match.groups()
        parts[label] = f"{parts.get(label, '')}\n{line}".strip()
    return parts


def command(name):
    """Returns the arguments of the launch command in a file's header."""
    return shlex.split(header(name)["Command"].replace("\\\n", " "))


@functools.cache
def run_of(*argv):
    """Returns the run that a launch command describes, in this process once."""
    files = [arg.removeprefix("--gin_file=") for arg in argv if arg.startswith("--gin_file=")]
    given = [arg.removeprefix("--gin.") for arg in argv if arg.startswith("--gin.")]
    assert len(files) + len(given) + argv.count("--dry_run") == len(argv)
    return config.load(files, given)


def launched(name):
    """Returns the run of a file's launch command."""
    return run_of(*command(name)[2:])


@pytest.mark.parametrize("name", FILES)
def test_header_says_what_for_what_to_override_and_how_to_launch(name):
    parts = header(name)
    assert parts[""] and all(parts.get(label) for label in LABELS)
    argv = command(name)
    assert argv[:2] == ["jaxlt", "train"] and f"--gin_file={name}" in argv
    text = (ROOT / name).read_text()
    assert len(text.splitlines()) <= 60 and max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", FILES)
def test_launch_command_makes_a_run_that_reads_back(name, tmp_path):
    run = launched(name)
    assert run.workdir and run.data.batch_size > 0
    folder, _, stem = name.rpartition("/")
    if folder in ("hardware", "topologies") or re.search("_(base|large|xl|xxl)$", stem[:-4]):
        return  # other numbers in the very bindings of a file that is read back
    path = tmp_path / "config.gin"
    path.write_text(config.operative_config(run))
    assert config.load([str(path)]) == run
    path.write_text(config.text.render(run))
    assert config.load([str(path)]) == run


@pytest.mark.parametrize("name", FILES)
def test_tiny_gin_shrinks_every_run(name):
    sized = ("--gin.BATCH_SIZE", "--gin.INPUTS_LENGTH")
    argv = [a for a in command(name)[2:] if not a.startswith(sized)]
    run = run_of(*argv, "--gin_file=tiny.gin", "--gin.TRAIN_STEPS=3")
    assert run.train.steps == 3 and run.init_from is None
    if name != "models/bilstm.gin":  # small as it is
        assert run.model.emb_dim <= 256 and run.model.encoder_layers <= 4
    assert run.data.batch_size <= 8 and run.data.inputs_length <= 128
    assert run.model.dtype == "float32"


PAGES = [ROOT.parent / "README.md", *sorted((ROOT.parent / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_there_with_their_flags_and_make_runs(page, caplog, tmp_path):
    """They say what they read, which a plan does not, by its name of now; so do blocks of gin."""
    renamed.tell.cache_clear()
    behind = {n: v for n, v in FALLBACKS.items() if n not in ("TEXT", "PAIRS", "CORPORA")}
    for block in re.findall(r"```gin\n(.*?)```", page.read_text(), re.S):
        (tmp_path / "block.gin").write_text(block)
        files = ["models/tiny.gin", "runs/pretrain.gin", str(tmp_path / "block.gin")]
        config.load(files, ["TEXT=t", "WORKDIR=w"], fallbacks=FALLBACKS)
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    for argv in (shlex.split(line, comments=True) for line in lines):
        if argv[:1] != ["jaxlt"] or "..." in argv:
            continue
        _, args = parse(argv[1:])
        if argv[1] in ("train", "plan") and args.gin_file:
            fallbacks = FALLBACKS if argv[1] == "plan" else behind
            config.load(args.gin_file, args.gin_overrides, fallbacks=fallbacks)
    assert not caplog.records


def test_every_size_is_here():
    sizes = [
        f"{family}_{size}"
        for family in ("mt5", "byt5", "umt5")
        for size in ("small", "base", "large", "xl", "xxl")
    ]
    assert {f"models/{s}.gin" for s in [*sizes, "tiny", "mlm_tiny"]} <= set(FILES)


def counted(model):
    """Parameters of T5 v1.1 by hand: attention, gated MLPs, norms, positions, two embeddings."""
    attention = 4 * model.emb_dim * model.num_heads * model.head_dim
    mlp, norm = 3 * model.emb_dim * model.mlp_dim, model.emb_dim
    encoder = model.encoder_layers * (attention + mlp + 2 * norm) + norm
    decoder = model.decoder_layers * (2 * attention + mlp + 3 * norm) + norm
    both = (model.encoder_layers, model.decoder_layers)
    tables = sum(both) if model.relpos_per_layer else 2
    positions = tables * model.relpos_buckets * model.num_heads
    return encoder + decoder + positions + 2 * model.vocab_rows * model.emb_dim


@pytest.mark.parametrize("name", [f for f in FILES if f.startswith("models/")])
def test_parameter_counts(name):
    from jaxlt.models import init

    model = launched(name).model
    stem = name.removeprefix("models/").removesuffix(".gin")
    family, _, size = stem.partition("_")
    if size in ("base", "large", "xl", "xxl"):  # in other numbers what the small one is
        small = launched(f"models/{family}_small.gin").model
        count = counted(model)
        assert dataclasses.replace(model, **{n: getattr(small, n) for n in SIZES}) == small
    else:
        leaves = init.describe(model)
        count = init.count({n: leaf for n, leaf in leaves.items() if n.startswith("params/")})
        assert size != "small" or count == counted(model)
    if stem in PARAMETERS:
        assert count == PARAMETERS[stem]
    if stem == "tiny":
        assert 4.5e6 < count < 5.5e6
    said = re.search(r"([\d,]+) parameters", header(name)[""])
    assert said is None or count == int(said[1].replace(",", ""))


def test_modules_add_only_to_their_own_collection():
    from jaxlt.models.init import describe

    run = launched("modules/bottleneck.gin")
    assert [p.name for p in run.model.plugs] == ["lang"]
    assert run.train.trainable == ("modules/.*",)
    assert {name.split("/")[0] for name in describe(run.model)} == {"params", "modules"}


def test_tiny_gin_shrinks_a_run_without_macros(tmp_path):
    own = tmp_path / "own.gin"
    own.write_text("run.workdir = 'w'\nTrainConfig.steps = 9000\nDataConfig.sources = 'texts'\n")
    argv = [f"--gin_file={f}" for f in ("models/byt5_small.gin", own, "tiny.gin")]
    run = run_of(*argv)
    assert (run.train.steps, run.data.batch_size, run.model.emb_dim) == (20, 8, 64)


def test_recipes_are_t5s():
    pretrain = launched("runs/pretrain.gin")
    assert pretrain.schedule.name == "rsqrt" and pretrain.schedule.warmup_steps == 10_000
    assert pretrain.loss.z_loss == 1e-4 and pretrain.model.dropout == 0.0
    assert pretrain.data.mean_span == 20.0 and pretrain.data.alpha == 0.3
    assert pretrain.eval_data.split == "validation" and pretrain.eval_data.sources == ("my_texts",)
    for name, constant in (("byt5_base", 1024 * 189), ("mt5_base", 1024 * 229)):
        tuned = launched(f"models/{name}.gin")
        assert tuned.loss.normalize == constant
        assert tuned.schedule.name == "constant" and tuned.schedule.learning_rate == 1e-3
        assert tuned.model.dropout == 0.1 and tuned.optimizer.name == "adafactor"


def test_no_launch_command_hardly_learns():
    """Adafactor and T5's constant are for whole backbones; what starts at zero takes AdamW."""
    assert not {name: said for name in FILES if (said := hardly_learns(launched(name)))}


def test_a_setting_of_transfer_stops_each_recipe_for_text_by_a_metric():
    task = ["--gin.DataConfig.objective=text_to_text", "--gin.WORKDIR=w"]
    task += ["--gin_file=data/transfer.gin", "--gin.SOURCES=eng_Latn", "--gin.INIT_FROM=x"]
    for name, data in (("finetune", "PAIRS"), ("adapt", "TEXT"), ("small_language", "TEXT")):
        files = ("--gin_file=models/tiny.gin", f"--gin_file=runs/{name}.gin")
        run = run_of(*files, *task, f"--gin.{data}=x")
        assert run.train.patience > 0 and run.checkpoint.best_metric, name
