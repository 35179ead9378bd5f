"""Language identification on the UDHR: macro-F1 on articles never seen, and lines a second.

    python benchmarks/lid.py [--data FOLDER] [--languages 100] [--json PATH]

Learns from the title, the preamble and articles 1 to 10 of the declaration, and is tested on the
paragraphs of articles 11 to 15. The goals are a macro-F1 of 0.97 over 100 languages (evenly spaced
in the list of all; 0 takes all) and 10,000 lines a second on one core.
"""

import gzip
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep, one_core
from jaxlt.data.text import lid

GOAL_F1, GOAL_LINES = 0.97, 10_000
Texts = dict[str, list[str]]


def articles(folder: Path, languages: int) -> tuple[Texts, Texts]:
    """Returns (training, test) paragraphs by language.

    Where a language has several texts, dialects among them, the one named like it is taken, or else
    the first.
    """
    first: dict[str, str] = {}
    for line in (folder / "languages.tsv").read_text("utf-8").splitlines()[1:]:
        key, language, script = line.split("\t")[:3]
        if language != "und":
            code = f"{language}_{script}"
            first[code] = key if key == language else first.get(code, key)
    codes = sorted(first)
    if 0 < languages < len(codes):
        codes = [codes[i * len(codes) // languages] for i in range(languages)]
    wanted = {first[code]: code for code in codes}
    learn: Texts = {code: [] for code in codes}
    test: Texts = {code: [] for code in codes}
    with gzip.open(folder / "udhr.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            key, place, text = line.rstrip("\n").split("\t")
            if key not in wanted or place.endswith(".t"):
                continue
            late = place[0] == "a" and int(place[1:].split(".")[0]) > 10
            (test if late else learn)[wanted[key]].append(text)
    return learn, test


def lines_a_second(model: lid.LidModel, test: Texts, rounds: int = 5) -> float:
    """Returns how many lines the model names in a second, in the best of some rounds."""
    lines = [line for part in test.values() for line in part]
    lines *= -(-10_000 // len(lines))
    best = 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        model.predict(lines)
        best = max(best, len(lines) / (time.perf_counter() - start))
    return best


def main() -> None:
    """Trains, tests and prints."""
    parser = flags(__doc__, languages=100)
    beside = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=beside, help="the folder that has udhr/")
    args = parser.parse_args()
    one_core()
    learn, test = articles(args.data / "udhr", args.languages)
    start = time.perf_counter()
    model = lid.train(learn)
    seconds = time.perf_counter() - start
    report = lid.evaluate(model, test)
    found = {
        "languages": len(learn),
        "lines_learnt": sum(map(len, learn.values())),
        "lines_tested": int(report.confusion.sum()),
        "training_seconds": round(seconds, 2),
        "macro_f1": round(report.macro_f1, 4),
        "accuracy": round(report.accuracy, 4),
        "lines_per_second": round(lines_a_second(model, test)),
    }
    for name, value in found.items():
        print(f"{name:>18}  {value:,}")
    print(f"goals: macro-F1 {GOAL_F1}, {GOAL_LINES:,} lines a second")
    keep(args.json, found)


if __name__ == "__main__":
    main()
