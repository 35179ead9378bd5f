"""Small made files of every task that heads learn, in two languages."""

import json
from pathlib import Path

import numpy as np

NOUNS, VERBS = ("cat", "dög", "hús", "狗"), ("runs", "sleeps", "sér")


def _sentence(rng: np.random.Generator, deep: bool) -> str:
    """A sentence in CoNLL-U; some have a multiword token and an empty node."""
    words = [str(rng.choice(NOUNS)), str(rng.choice(VERBS)), str(rng.choice(NOUNS))]
    rows = [
        (words[0], "NOUN", 2, "nsubj"),
        (words[1], "VERB", 0, "root"),
        (words[2], "NOUN", 2, "obj"),
    ]
    lines = [
        f"{i}\t{form}\t_\t{tag}\t_\t_\t{head}\t{relation}\t_\t_"
        for i, (form, tag, head, relation) in enumerate(rows, start=1)
    ]
    if deep:
        lines.insert(1, f"2-3\t{words[1]}{words[2]}\t_\t_\t_\t_\t_\t_\t_\t_")
        lines.append("3.1\tdid\t_\tAUX\t_\t_\t_\t_\t2:aux\t_")
    return "\n".join(lines) + "\n\n"


def write_treebanks(folder: Path, train: int = 24, dev: int = 8) -> Path:
    """Writes en_a and fr_b with a training and a development file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("en_a", "fr_b")):
        rng = np.random.default_rng(seed)
        for split, count in (("train", train), ("dev", dev)):
            text = "".join(_sentence(rng, i % 3 == 0) for i in range(count))
            (folder / f"{name}-{split}.conllu").write_text(text, encoding="utf-8")
    return folder


def write_entities(folder: Path, train: int = 24, dev: int = 8) -> Path:
    """Writes an entity file of English."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("dev", dev)):
        text = ""
        for _ in range(count):
            place, name = rng.choice(("Oslo", "New York")), rng.choice(("Ada", "Bo"))
            text += f"{name}\tB-PER\nin\tO\n"
            text += "".join(f"{w}\t{'BI'[bool(i)]}-LOC\n" for i, w in enumerate(str(place).split()))
            text += "\n"
        (folder / f"en_a-{split}.iob2").write_text(text, encoding="utf-8")
    return folder


def write_table(path: Path, kind: str, count: int = 40) -> Path:
    """Writes a table of 'topics', 'pairs' or 'questions', in English and French."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        one = {"lang": ("en", "fr")[i % 2], "id": str(i), "split": ("train", "dev")[i % 5 == 4]}
        noun, verb = str(rng.choice(NOUNS)), str(rng.choice(VERBS))
        if kind == "topics":
            one |= {"category": ("animal", "other")[noun == "hús"]}
            one["text"] = f"the {noun} {verb} {i}"
        elif kind == "pairs":
            same = bool(rng.integers(2))
            one |= {"premise": f"{noun} {verb}", "hypothesis": noun if same else "nobody"}
            one["label"] = "entailment" if same else "neutral"
        else:
            one |= {
                "question": f"who {verb} ?",
                "context": f"{noun} {verb} {i} .",
                "answers": [noun],
            }
        rows.append(one)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    return path
