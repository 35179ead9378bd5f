"""What models from scratch reach on a treebank of 2,000 sentences and on made languages, by seed.

    python benchmarks/quality.py [--data FOLDER] [--only made] [--seeds 0 1 2] [--quick]

Every figure comes from `jaxlt train` and `jaxlt eval --answers` with shipped gin files, on test
splits, at the step that was best on held-out text. `--folder` keeps the runs, and goes on there.

made: a BiLSTM tagger, parser, NER tagger and classifier of a made language, tested in that language
(goal: 0.95, where 1 can be attained) and, without any training there, in a dialect and in a sister
language of it (goal: above whoever always gives the commonest answer of the test).
treebank: a BiLSTM tagger and parser of English EWT (goals: accuracy 0.85, LAS 0.70).
encoder: a small encoder over 3,000 pieces, as a tagger of EWT, from scratch and after masked
language modelling on the text of the same training sentences (goal: above without).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.sides import flags, keep
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result

SOURCE, DIALECT, SISTER = "qaa_Latn", "qaz_Latn", "qab_Latn"
LANGUAGES = (SOURCE, DIALECT, SISTER, "eng_Latn")
TASKS = {  # heads/*.gin -> (kind of made tasks, metric)
    "tagging": ("synthetic_tagging", "accuracy"),
    "parsing": ("synthetic_parsing", "las"),
    "entities": ("synthetic_entities", "entity_f1"),
    "topics": ("synthetic_sentiment", "accuracy"),
}
BILSTM = ("runs/heads.gin", "models/bilstm.gin")
SMALL = {  # an encoder that learns in minutes on a CPU
    "T5Config.emb_dim": 128,
    "T5Config.mlp_dim": 320,
    "T5Config.num_heads": 4,
    "T5Config.head_dim": 32,
    "T5Config.encoder_layers": 3,
    "T5Config.vocab_rows": 3072,
    "DTYPE": "float32",
}
GOALS = {"treebank tagging": 0.85, "treebank parsing": 0.70}
ATTAINED = 0.95  # of 1: what is said in a made language has one reading


class Bench:
    """Runs commands in a folder, and keeps the rows of what came out."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args, self.folder = args, folder
        self.rows: list[dict[str, Any]] = []

    def jaxlt(self, *argv: str) -> None:
        """Runs the command line; stops with what it said where it fails."""
        command = [sys.executable, "-m", "jaxlt", *argv]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def train(self, name: str, files: tuple[str, ...], settings: dict[str, Any]) -> Path:
        """Trains in a folder of its own, or goes on there; returns it."""
        workdir = self.folder / name
        said = [f"--gin.{key}={value}" for key, value in settings.items()]
        said += [f"--gin.WORKDIR={workdir}"]
        self.jaxlt("train", *[f"--gin_file={file}" for file in files], *said)
        return workdir

    def score(self, workdir: Path, metric: str, split: str = "test") -> Iterator[Result]:
        """Answers a split with the best step; yields the Results of a metric, a language each."""
        (workdir / "results.jsonl").unlink(missing_ok=True)
        self.jaxlt("eval", f"--workdir={workdir}", "--step=best", "--answers", f"--split={split}")
        for one in result_file.read(workdir / "results.jsonl"):
            if one.metric == metric and one.target in LANGUAGES and not one.method:
                yield one

    def add(self, what: str, seed: int, row: Result, goal: float | None) -> None:
        """Prints and keeps a figure."""
        low, high = row.interval[:2]
        reached = goal is None or row.value >= goal
        found = {"what": what, "seed": seed, "language": row.target, "metric": row.metric}
        found |= {"value": row.value, "interval": [low, high], "n": row.n, "goal": goal}
        self.rows.append(found | {"reached": reached})
        aim = "" if goal is None else f"  goal {goal:.3f}: {'reached' if reached else 'MISSED'}"
        print(
            f"{what:<28} seed {seed}  {row.target:<9} {row.metric:<9} "
            f"{row.value:.3f} [{low:.3f}, {high:.3f}] n {row.n:<5}{aim}",
            flush=True,
        )


def made(bench: Bench, seed: int) -> None:
    """Each task of a made language, in-language and zero-shot."""
    quick = bench.args.quick
    for task, (kind, metric) in TASKS.items():
        settings = {
            "KIND": kind,
            "TEXT": [],
            "TaskConfig.factory": "@FactoryConfig()",
            "FactoryConfig.families": "[@Family()]",
            "FactoryConfig.annotated": 3000,
            "FactoryConfig.opinions": 4000,
            "FactoryConfig.seed": seed,
            "Family.languages": 2,
            "Family.dialects": 1,
            "DataConfig.held_out": 0.1,
            "DataConfig.held_out_test": 0.1,
            "SETTING": "zero_shot",
            "SOURCES": SOURCE,
            "TARGETS": [DIALECT, SISTER],
            "DataConfig.words_length": 32,
            "EPOCHS": 6 if quick and task != "topics" else 12,
            "SEED": seed,
        }
        files = (*BILSTM, f"heads/{task}.gin", "data/transfer.gin")
        workdir = bench.train(f"made-{task}-{seed}", files, settings)
        for row in bench.score(workdir, metric):
            here = row.target == SOURCE
            goal = ATTAINED if here else commonest(workdir, task, row.target)
            bench.add(f"made {task} {'in-language' if here else 'zero-shot'}", seed, row, goal)


def commonest(workdir: Path, task: str, language: str) -> float:
    """The score of the commonest answer to a word (or text) of a language's test split."""
    if task == "entities":
        return 0.0  # most words are in none
    counts: Counter[str] = Counter()
    for path in sorted((workdir / "answers").glob("test-*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            if row.get("language") == language:  # the first line says what was asked
                counts.update([row["target"]] if task == "topics" else row["target"].split())
    return max(counts.values()) / counts.total()


def treebank(bench: Bench, seed: int) -> None:
    """A BiLSTM tagger and parser of English EWT."""
    for task, epochs in (("tagging", (8, 12)), ("parsing", (12, 20))):
        settings = ewt(bench) | {"EPOCHS": epochs[not bench.args.quick], "SEED": seed}
        files = (*BILSTM, f"heads/{task}.gin")
        workdir = bench.train(f"treebank-{task}-{seed}", files, settings)
        for row in bench.score(workdir, TASKS[task][1]):
            bench.add(f"treebank {task}", seed, row, GOALS[f"treebank {task}"])


def ewt(bench: Bench) -> dict[str, Any]:
    """Where English EWT is."""
    return {"TEXT": bench.args.data / "ud", "NAMES": "en_ewt"}


def encoder(bench: Bench, seed: int) -> None:
    """The same encoder as a tagger of EWT, from scratch and pretrained on the text at hand."""
    quick = bench.args.quick
    text, vocabulary = bench.folder / "text" / "eng_Latn.txt", bench.folder / "english.model"
    if not vocabulary.exists():
        write_text(bench.args.data / "ud" / "en_ewt-train.conllu.gz", text)
        bench.jaxlt("data", "vocab", f"--text={text.parent}", f"--out={vocabulary}", "--size=3000")
    shape = SMALL | {"DataConfig.vocabulary": f"'{vocabulary}'", "SEED": seed}
    pretraining = {
        "TEXT": text.parent,
        "BATCH_SIZE": 32,
        "INPUTS_LENGTH": 64,
        "LEARNING_RATE": 1e-3,
        "ScheduleConfig.warmup_steps": 50,
        "TRAIN_STEPS": 600 if quick else 4000,
        "TrainConfig.eval_every": 300,
    }
    mlm = ("models/mlm_tiny.gin", "runs/mlm.gin")
    pretrained = bench.train(f"encoder-mlm-{seed}", mlm, shape | pretraining)
    before: float | None = None
    files = ("models/mlm_tiny.gin", "runs/heads.gin", "heads/tagging.gin")
    for name, start in (("from scratch", None), ("after MLM", pretrained)):
        settings = shape | ewt(bench) | {"EPOCHS": 8 if quick else 12, "INPUTS_LENGTH": 256}
        settings |= {"INIT_FROM": start}
        workdir = bench.train(f"encoder-{name.replace(' ', '-')}-{seed}", files, settings)
        for row in bench.score(workdir, "accuracy"):
            bench.add(f"encoder {name}", seed, row, before)
            before = row.value


def write_text(treebank: Path, path: Path) -> None:
    """Writes a treebank's sentences, a line each."""
    from jaxlt.data.readers import conllu

    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{' '.join(sentence.forms)}\n" for sentence in conllu.read(str(treebank))]
    path.write_text("".join(lines), "utf-8")


PARTS = {"made": made, "treebank": treebank, "encoder": encoder}


def main() -> int:
    """Prints every figure; returns 1 where one misses its goal."""
    parser = flags(__doc__)
    beside = os.environ.get("JAXLT_SHARED_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=beside, help="the folder that has ud/")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="the first seed, and fewer epochs")
    parser.add_argument("--folder", type=Path, help="where runs are kept (none are)")
    args = parser.parse_args()
    args.data = Path(args.data).expanduser().resolve()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, (args.folder or Path(scratch)).expanduser().resolve())
        for part in args.only:
            for seed in args.seeds[:1] if args.quick else args.seeds:
                PARTS[part](bench, seed)
                keep(args.json, bench.rows)
    return int(not all(row["reached"] for row in bench.rows))


if __name__ == "__main__":
    sys.exit(main())
