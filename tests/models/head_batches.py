"""Made rows for heads that can be learnt: what each word, row and span is follows from its tokens.

Tokens are 3 to 39; a word's tag is its first token mod 4, its head the word before it (the first
is the root's), its relation the parity of its token; a row's class is whether its first token is
above 20; an answer is where token 7 is.
"""

import dataclasses
import zlib

import numpy as np

from jaxlt.models.biaffine import ParserConfig
from jaxlt.models.classifier import ClassifierConfig
from jaxlt.models.config import T5Config
from jaxlt.models.init import describe
from jaxlt.models.span_extractor import SpanConfig
from jaxlt.models.tagger import TaggerConfig
from tests.conftest import make_config, random_params

TAGGER = TaggerConfig("tags", 5)
CHAINED = TaggerConfig("tags", 5, crf=True)
PARSER = ParserConfig("deps", 3, arc_dim=8, label_dim=4)
CLASSIFIER = ClassifierConfig("topic", 3)
SPAN = SpanConfig("answer")
TWO = (CHAINED, PARSER)
ALL = (TAGGER, PARSER, CLASSIFIER, SPAN)


def encoder(heads=TWO, **changes) -> T5Config:
    """A tiny encoder of one layer with heads."""
    return make_config(**({"encoder_layers": 1, "decoder_layers": 0, "heads": heads} | changes))


def params_of(config: T5Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Flat parameters drawn by numpy; nothing is zero but what is a bias of a head."""
    flat = random_params(dataclasses.replace(config, heads=()), seed)
    leaves = describe(config)
    for name, leaf in leaves.items():
        if name.startswith("heads/"):
            noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).normal(size=leaf.shape)
            flat[name] = (noise * 0.3).astype(np.float32)
    return {name: flat[name] for name in leaves}


def make_rows(rows: int = 8, heads=TWO, seed: int = 0, tokens: int = 9) -> dict[str, np.ndarray]:
    """A batch whose rows are for the heads by turns; every third token begins no word."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, tokens + 1, rows)
    place = np.arange(tokens)
    ids = rng.integers(8, 40, (rows, tokens))
    ids[np.arange(rows), rng.integers(0, 4, rows)] = 7
    ids = np.where(place < lengths[:, None], ids, 0)
    begins = place[place % 3 != 2]
    first = np.where(begins < lengths[:, None], begins, -1)
    at = np.take_along_axis(ids, np.maximum(first, 0), axis=1)
    there = first >= 0
    answer = np.argmax(ids == 7, axis=1)
    batch = {
        "encoder_input_tokens": ids,
        "word_first": first,
        "word_labels": np.where(there, at % 4, -1),
        "word_heads": np.where(there, np.arange(len(begins)), -1),
        "label": (ids[:, 0] > 20).astype(int),
        "sentence": (ids > 0).astype(int),
        "context": (ids > 0).astype(int),
        "span": np.stack([answer, answer], axis=1),
        "head": np.arange(rows) % len(heads),
        "language": rng.integers(0, 3, rows),
    }
    deps = [i for i, head in enumerate(heads) if isinstance(head, ParserConfig)]
    mine = np.isin(batch["head"], deps)[:, None]
    batch["word_labels"] = np.where(mine & there, at % 2, batch["word_labels"])
    if not any(isinstance(head, ClassifierConfig) for head in heads):
        batch = {n: v for n, v in batch.items() if n not in ("label", "sentence")}
    if not any(isinstance(head, SpanConfig) for head in heads):
        batch = {n: v for n, v in batch.items() if n not in ("span", "context")}
    return {name: values.astype(np.int32) for name, values in batch.items()}
