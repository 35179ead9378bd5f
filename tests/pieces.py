"""Small SentencePiece models for tests."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece


def train_pieces(path: Path, lines: Iterable[str], size: int, **settings: Any) -> str:
    """Trains a model with T5's special ids on lines; writes and returns `path`.model."""
    usual = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(path),
        vocab_size=size,
        minloglevel=2,
        **usual | settings,
    )
    return f"{path}.model"
