"""Reading CoNLL-U on one core: words a second, unpacked, parsed and checked to be trees.

    python benchmarks/conllu.py [FOLDER] [--json FILE]

Goal: at least 200,000 words/s. FOLDER holds .conllu or .conllu.gz files; without one, a treebank is
made up. Beside it, as the measure of the machine: the same lines split at tabs and not looked at.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep, one_core
from jaxlt.data.readers import conllu
from jaxlt.data.readers.lines import raw_lines
from jaxlt.data.sources import corpora

GOAL = 200_000


def make(path: str, sentences: int = 8_000) -> None:
    """Writes a treebank with the lengths and the share of multiword tokens of real ones."""
    rng = random.Random(0)

    def sentence() -> conllu.Sentence:
        count = rng.randint(1, 40)
        words = tuple(
            "".join(rng.choices("aeioukstnrl", k=rng.randint(1, 9))) for _ in range(count)
        )
        heads = tuple(rng.randint(1, i) if i else 0 for i in range(count))
        blank = ("_",) * count
        nouns, relations = ("NOUN",) * count, ("dep",) * count
        ranges = (conllu.Range(1, 2, (words[0], *blank[:1] * 8)),) if count > 9 else ()
        return conllu.Sentence(
            words, words, nouns, blank, blank, heads, relations, blank, blank, ("# made",), ranges
        )

    conllu.write(path, (sentence() for _ in range(sentences)))


def read_all(paths: Sequence[str]) -> int:
    """Reads and checks everything; returns how many words."""
    return sum(len(sentence.forms) for path in paths for sentence in conllu.read(path))


def split_all(paths: Sequence[str]) -> int:
    """Only takes lines apart; returns how many had tabs."""
    return sum(len(line.split(b"\t")) > 1 for path in paths for _, line in raw_lines(path))


def seconds(work: Callable[[Sequence[str]], int], paths: Sequence[str]) -> float:
    """Returns the processor time of one turn."""
    began = time.process_time()
    work(paths)
    return time.process_time() - began


def main() -> None:
    """Measures and prints."""
    parser = flags(__doc__)
    parser.add_argument("folder", nargs="?")
    args = parser.parse_args()
    one_core()
    with tempfile.TemporaryDirectory() as name:
        if not args.folder:
            make(f"{name}/made-train.conllu.gz")
        paths = corpora.walk([args.folder or name], corpora.CONLLU)
        words = read_all(paths)
        turns = [(seconds(read_all, paths), seconds(split_all, paths)) for _ in range(5)]
    read, split = (statistics.median(turn) for turn in zip(*turns, strict=True))
    rate = words / read
    print(f"{words:,} words of {len(paths)} files, one core: {rate:,.0f} words/s (goal {GOAL:,})")
    print(f"reading and checking takes {read / split:.2f} times splitting the lines at tabs")
    keep(args.json, {"words_s": rate, "goal": GOAL, "read / split": read / split})


if __name__ == "__main__":
    main()
