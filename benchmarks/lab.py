"""What the laboratory's models learn in seconds on one core, by seed, a row a figure.

    python benchmarks/lab.py [--data FOLDER] [--only made ewt] [--seeds 0 1 2 3 4] [--folder FOLDER]

Every figure comes from `jaxlt train` and `jaxlt eval --answers` with models/lab_*.gin and
runs/lab_*.gin, on test splits, at the step that was best on the source's held-out sentences. Rows
go to results/lab/PART.jsonl as they come; what is there already is not measured again.

made: a tagger that learns from 300 sentences of a made language is tested on a sister of it (70%
of its words are cognates) and on a dialect, of which it has seen no tag. Its encoder begins with
masked language modelling on both sisters (`mlm`), the same from T5's own flat start (`mlm flat`),
span corruption with an encoder-decoder (`spans`), or with nothing (`untrained`, three times the
steps). Every seed is a world of its own; all languages have one order of subject, verb and object,
and sisters differ in the sides of one to three kinds of dependents. Nothing is claimed of `spans`:
at this size it transfers in some worlds and not in others.
drawn: the same two arms, `mlm` and `untrained`, in worlds whose orders are drawn: a sister of
another order (seed 3) gains nothing.
ewt: a tagger of 300 sentences of English EWT, after masked language modelling on the text of its
2,000 training sentences, and from scratch, with as many steps.

The last lines judge what is claimed of the arms, paired by seed; a part with a claim that does not
hold gives the status 1.
"""

import argparse
import gzip
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.quality import DIALECT, SISTER, SOURCE, Bench, write_text
from jaxlt.metrics.claims import judge
from jaxlt.metrics.effects import difference

LABELLED = 300  # sentences
MORE = 3  # times the epochs of a fair start from scratch
EPOCHS = 16
FLAT = {"T5Config.relpos_start": "t5", "T5Config.embedding_std": 1.0}
WORLD = {
    "FactoryConfig.families": "[@Family()]",
    "Family.languages": 3,
    "Family.dialects": 1,
    "FactoryConfig.sentences": 20000,
    "FactoryConfig.annotated": 2000,
}
ONE_ORDER = {"Family.order": "'SVO'"}
ARMS = ("mlm", "mlm flat", "spans", "untrained")
CLAIMS = (  # (part, language, an arm, the arm that it is better than)
    ("made", SISTER, "mlm", "untrained"),
    ("made", SISTER, "mlm", "mlm flat"),
    ("drawn", SISTER, "mlm", "untrained"),
    ("ewt", "eng_Latn", "mlm", "untrained"),
)


class Lab(Bench):
    """Runs of a part and a seed, and the rows of what came out."""

    def __init__(self, args: argparse.Namespace, folder: Path, part: str):
        super().__init__(args, folder / part)
        self.part, self.path = part, args.out / f"{part}.jsonl"
        if self.path.exists():
            self.rows = [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]

    def wants(self, seed: int, arm: str) -> bool:
        """Whether an arm of a seed is asked for and was not measured; if so its time begins."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.before = used.ru_utime + used.ru_stime
        measured = any(row["seed"] == seed and row["arm"] == arm for row in self.rows)
        return not measured and arm in self.args.arms

    def tagger(self, seed: int, arm: str, model: str, settings: dict[str, Any]) -> None:
        """Trains a tagger and adds its rows: accuracy by language."""
        files = (f"models/{model}.gin", "runs/lab_heads.gin", "heads/tagging.gin")
        if "SETTING" in settings:
            files = (*files, "data/transfer.gin")
        epochs = EPOCHS if settings["INIT_FROM"] else MORE * EPOCHS
        settings = {"EPOCHS": epochs, "SEED": seed} | settings
        workdir = self.train(f"{arm.replace(' ', '-')}-tagger-{seed}", files, settings)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        for one in self.score(workdir, "accuracy"):
            row = {"part": self.part, "seed": seed, "arm": arm, "language": one.target}
            row |= {"metric": one.metric, "value": one.value, "interval": list(one.interval[:2])}
            row |= {"n": one.n, "seconds": round(used.ru_utime + used.ru_stime - self.before, 1)}
            self.rows.append(row)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(*(f"{key} {value}" for key, value in row.items()), flush=True)


def made(lab: Lab, seed: int) -> None:
    """Zero-shot tagging in a made world."""
    world = WORLD | {"FactoryConfig.seed": seed} | (ONE_ORDER if lab.part == "made" else {})
    folder = lab.folder / f"world-{seed}"
    vocabulary = folder / "pieces.model"
    if not vocabulary.exists():
        said = [f"--gin.{key}={value}" for key, value in world.items()]
        lab.jaxlt("data", "synth", f"--out={folder}", "--gin_file=data/synth.gin", *said)
        text = f"--text={folder / 'text'}"
        both = f"--languages={SOURCE},{SISTER}"
        lab.jaxlt("data", "vocab", text, both, f"--out={vocabulary}", "--size=1000")
    texts = [str(folder / "text" / f"{language}.txt") for language in (SOURCE, SISTER)]
    shape: dict[str, Any] = {"VOCABULARY": vocabulary}
    tags = shape | {
        **world,
        "KIND": "synthetic_tagging",
        "CORPORA": [],
        "TaskConfig.factory": "@FactoryConfig()",
        "SETTING": "zero_shot",
        "SOURCES": SOURCE,
        "TARGETS": [SISTER, DIALECT],
        "DataConfig.held_out": 0.05,  # of 2,000 sentences: 300 are left to learn from
        "DataConfig.held_out_test": 0.8,
    }
    arms: dict[str, tuple[str, dict[str, Any]]] = {
        "mlm": ("lab_mlm", {}),
        "mlm flat": ("lab_mlm", FLAT),
        "spans": ("lab_spans", {}),
    }
    for arm, (model, more) in arms.items():
        if (lab.part == "drawn" and arm != "mlm") or not lab.wants(seed, arm):
            continue
        files = (f"models/{model}.gin", f"runs/{model}.gin")
        settings = shape | more | {"TEXT": texts, "SEED": seed}
        start = lab.train(f"{arm.replace(' ', '-')}-{seed}", files, settings)
        lab.tagger(seed, arm, model, tags | more | {"INIT_FROM": start})
    if lab.wants(seed, "untrained"):
        lab.tagger(seed, "untrained", "lab_mlm", tags | {"INIT_FROM": None})


def ewt(lab: Lab, seed: int) -> None:
    """Tags of English EWT."""
    trees, text = lab.folder / "trees", lab.folder / "text" / "eng_Latn.txt"
    vocabulary = lab.folder / "english.model"
    if not vocabulary.exists():
        few_trees(lab.args.data / "ud", trees)
        write_text(lab.args.data / "ud" / "en_ewt-train.conllu.gz", text)
        lab.jaxlt("data", "vocab", f"--text={text}", f"--out={vocabulary}", "--size=1000")
    shape: dict[str, Any] = {"VOCABULARY": vocabulary}
    tags = shape | {
        "EPOCHS": MORE * EPOCHS,
        "CORPORA": trees,
        "NAMES": "en_ewt",
        "INPUTS_LENGTH": 128,
        "DataConfig.words_length": 96,
        "DataConfig.length_buckets": 20,  # most sentences are short
    }
    if lab.wants(seed, "mlm"):
        settings = shape | {"TEXT": text, "SEED": seed}
        start = lab.train(f"mlm-{seed}", ("models/lab_mlm.gin", "runs/lab_mlm.gin"), settings)
        lab.tagger(seed, "mlm", "lab_mlm", tags | {"INIT_FROM": start})
    if lab.wants(seed, "untrained"):
        lab.tagger(seed, "untrained", "lab_mlm", tags | {"INIT_FROM": None})


def few_trees(source: Path, folder: Path) -> None:
    """Writes EWT's splits to a folder, of the training sentences the first LABELLED ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        with gzip.open(source / f"en_ewt-{split}.conllu.gz", "rt", encoding="utf-8") as file:
            sentences = file.read().strip().split("\n\n")
        kept = sentences[:LABELLED] if split == "train" else sentences
        (folder / f"en_ewt-{split}.conllu").write_text("\n\n".join(kept) + "\n\n", "utf-8")


def claimed(lab: Lab, seeds: list[int]) -> bool:
    """Prints what is claimed of a part; returns whether all of it holds."""
    held = True
    for part, language, better, worse in CLAIMS:
        if part != lab.part:
            continue
        scores = {
            arm: {
                (row["seed"], language): row["value"]
                for row in lab.rows
                if row["arm"] == arm and row["language"] == language
            }
            for arm in (better, worse)
        }
        found = judge(difference(scores[better], scores[worse], seeds, (language,)), "better")
        means = (sum(scores[arm].values()) / max(1, len(scores[arm])) for arm in (better, worse))
        print(
            f"{part} {language}: {better} {next(means):.3f} > {worse} {next(means):.3f}: "
            f"{found.verdict}. {found.reason}",
            flush=True,
        )
        held &= found.verdict == "holds"
    return held


PARTS = {"made": made, "drawn": made, "ewt": ewt}


def main() -> int:
    """Measures what is not there yet, and prints the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = os.environ.get("JAXLT_SHARED_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=beside, help="the folder that has ud/")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=list(ARMS))
    parser.add_argument("--folder", type=Path, help="where runs are kept (none are)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "lab")
    args = parser.parse_args()
    args.data = Path(args.data).expanduser().resolve()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    held = True
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.folder or Path(scratch)).expanduser().resolve()
        for part in args.only:
            lab = Lab(args, folder, part)
            for seed in args.seeds:
                PARTS[part](lab, seed)
            held &= claimed(lab, args.seeds)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
