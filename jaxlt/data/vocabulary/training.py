"""Training a SentencePiece vocabulary over languages of very different size.

    write("my.model", training_documents(run.data), VocabTraining(size=32_000))

Languages are sampled by temperature (n^alpha of their bytes), so that large ones do not take all
pieces. pad, eos, unk are 0, 1, 2, and the sentinels the last ids, <extra_id_0> the highest, as mT5
has them: the model serves seqio, T5X and jaxlt as it is.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from jaxlt.data import rates
from jaxlt.data.amounts import Documents
from jaxlt.data.rows.batches import number_of, stream
from jaxlt.data.sources import files
from jaxlt.errors import UserError, check_one_of

Model = Literal["unigram", "bpe", "char"]
Tell = Callable[[str, float], None]  # (what is done, share of it that is done)

_CONTROL = 3  # the type of pieces that no text can spell
_SHRINK = re.compile(r"EM sub_iter=\d+ size=(\d+)")
_ADDED = re.compile(r"Added: .*?size=(\d+)")
_LONGEST = 4192 * 4  # bytes of a line that SentencePiece looks at


@dataclass(frozen=True)
class VocabTraining:
    """What to train: `size` counts all ids, special ones and `extra_ids` sentinels among them.

    coverage: share of the text's characters that become pieces; the rest is spelled in bytes.
    normalization: SentencePiece's rule ('identity', 'nfkc', 'nmt_nfkc', ...). For 'char' the size
    is an upper limit.
    """

    size: int = 32_000
    model: Model = "unigram"
    coverage: float = 0.9995
    byte_fallback: bool = True
    extra_ids: int = 100
    normalization: str = "identity"

    def __post_init__(self) -> None:
        check_one_of("A vocabulary's model", self.model, get_args(Model))
        if not 0 < self.coverage <= 1:
            raise UserError(f"The coverage is a share in (0, 1], not {self.coverage}.")
        special = 3 + self.extra_ids + (256 if self.byte_fallback else 0)
        if self.size <= special:
            raise UserError(
                f"A vocabulary of {self.size} ids has no place for text: {special} are special "
                "(pad, eos, unk, sentinels, and 256 bytes with byte fallback)."
            )


def write(
    out: str | Path,
    texts: Mapping[str, Documents],
    config: VocabTraining,
    alpha: float = 0.3,
    budget: int = 1 << 29,
    seed: int = 0,
    overwrite: bool = False,
    tell: Tell = lambda what, share: None,
    threads: int | None = None,
) -> dict[str, int]:
    """Samples languages' text and trains on it; returns bytes sampled by language.

    The file `out` appears whole or not at all. alpha, budget, seed: of `sample`. threads: all that
    may be used, unless given; the model depends on how many they are.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise UserError(f"'{out}' is there already; say --overwrite to replace it.")
    with tempfile.TemporaryDirectory(prefix="jaxlt-vocab-") as folder:
        text = Path(folder) / "text"
        written = sample(texts, alpha, budget, text, seed, tell)
        tell("reading the sample", 0.0)
        if threads is None:
            threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        model = train(text, config, tell, threads)
    files.write_chunks(str(out), [model])
    return written


def sample(
    texts: Mapping[str, Documents], alpha: float, budget: int, path: Path, seed: int, tell: Tell
) -> dict[str, int]:
    """Writes about `budget` bytes of text to `path`, a document a line; returns bytes by language.

    A language whose share is larger than its text is repeated. The same seed writes the same bytes.
    """
    counts = {}
    for done, (language, documents) in enumerate(texts.items()):
        tell(f"counting {language}", done / len(texts))
        counts[language] = sum(len(document) + 1 for document in documents())
    empty = [language for language, count in counts.items() if not count]
    if empty or not counts:
        what = f"Language '{empty[0]}' has" if empty else "The sources have"
        raise UserError(f"{what} no text to train a vocabulary on.")
    shares = rates.temperature(np.array(list(counts.values())), alpha)
    written = {}
    with path.open("wb") as file:
        for done, (language, share) in enumerate(zip(counts, shares, strict=True)):
            tell(f"sampling {language}", done / len(texts))
            times = share * min(budget, sum(counts.values())) / counts[language]
            begin = file.tell()
            for line in _chosen(texts[language](), times, seed, language):
                file.write(line + b"\n")
            written[language] = file.tell() - begin
    return written


def _chosen(documents: Iterable[bytes], times: float, seed: int, name: str) -> Iterator[bytes]:
    """Yields each document floor(times) times, and once more by chance for the rest."""
    drawn = stream(seed, "vocab", number_of(name))
    for document in documents:
        for _ in range(int(times) + int(drawn.random() < times % 1)):
            yield document


def train(text: Path, config: VocabTraining, tell: Tell, threads: int = 2) -> bytes:
    """Returns the model file's bytes, trained on the lines of `text`."""
    target = text.with_suffix(".spm")
    flags = {  # the model keeps these names: without folders, the same text makes the same bytes
        "input": text.name,
        "model_prefix": target.name,
        "model_type": config.model,
        "vocab_size": config.size - config.extra_ids,
        "character_coverage": config.coverage,
        "byte_fallback": config.byte_fallback,
        "normalization_rule_name": config.normalization,
        "pad_id": 0,
        "eos_id": 1,
        "unk_id": 2,
        "bos_id": -1,
        "pad_piece": "<pad>",
        "hard_vocab_limit": config.model != "char",
        "max_sentence_length": _LONGEST,
        "train_extremely_large_corpus": text.stat().st_size > 1 << 31,
        "num_threads": threads,
    }
    # A process of its own: its log says how far it is, and it can be stopped by Ctrl-C.
    code = (
        "import sys, json, sentencepiece as s; s.SentencePieceTrainer.train(**json.load(sys.stdin))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=text.parent,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(json.dumps(flags))
        process.stdin.close()
        log = _follow(process.stderr, config.size, tell)
    if process.returncode:
        raise UserError(
            f"SentencePiece could not train on this text: {_reason(log, config.extra_ids)}"
        )
    model = Path(f"{target}.model").read_bytes()
    return with_sentinels(model, config.extra_ids)


def _follow(lines: Iterable[str], size: int, tell: Tell) -> list[str]:
    """Reads the trainer's log to its end, telling how far it is; returns its last lines."""
    kept: list[str] = []
    seeds = 0
    for line in lines:
        kept = [*kept[-9:], line]
        shrunk, added = _SHRINK.search(line), _ADDED.search(line)
        if shrunk:
            left = int(shrunk[1])
            seeds = max(seeds, left)
            tell(f"{left:,} pieces to choose from", 1 - (left - size) / max(seeds - size, 1))
        elif added:
            tell(f"{int(added[1]):,} merges", int(added[1]) / size)
    return kept


def _reason(log: list[str], extra_ids: int) -> str:
    text = " ".join(line.strip() for line in log)
    high = re.search(r"Vocabulary size (?:is )?too high.*?<= (\d+)", text, re.DOTALL)
    if high:
        return f"it gives at most {int(high[1]) + extra_ids:,} ids; ask for no more."
    low = re.search(r"Vocabulary size (?:is )?smaller than required_chars\D*\d+ vs (\d+)", text)
    if low:
        return (
            f"its characters and special ids alone are {int(low[1]) + extra_ids:,} ids; ask for "
            "more, or for less coverage."
        )
    return text[-300:] or "it gave no reason."


def with_sentinels(model: bytes, count: int) -> bytes:
    """Returns a model file with <extra_id_{count-1}> ... <extra_id_0> as its last pieces.

    In a protocol buffer what is appended to a repeated field comes after what is there, so the
    pieces are simply written behind the file.
    """
    out = [model]
    for number in range(count - 1, -1, -1):
        name = f"<extra_id_{number}>".encode()
        piece = b"\x0a" + bytes([len(name)]) + name + b"\x15\0\0\0\0" + b"\x18" + bytes([_CONTROL])
        out.append(b"\x0a" + bytes([len(piece)]) + piece)
    return b"".join(out)
