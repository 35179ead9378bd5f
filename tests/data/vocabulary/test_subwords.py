"""Sampling segmentations: equal to the library where nothing is random, seeded where it is."""

import math
from collections import Counter

import numpy as np
import pytest
import sentencepiece

from jaxlt.data.synth.languages import FAMILY, generate
from jaxlt.data.vocabulary.subwords import SubwordSampler, open_segmenter
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary, vocabulary_config
from jaxlt.errors import UserError

ODD = ["日本 x", "▁ a  b ", "naïve ﬁne ½", "", "zzz qqq", "aaaa"]


def train(folder, kind: str, fallback: bool = True) -> str:
    path = folder / f"{kind}{fallback}"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=generate(FAMILY[0], 1000),
        model_prefix=str(path),
        vocab_size=420,
        model_type=kind,
        byte_fallback=fallback,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    return f"{path}.model"


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model(request, tmp_path_factory):
    return train(tmp_path_factory.mktemp("spm"), request.param)


@pytest.fixture(scope="module")
def lines():
    return list(generate(FAMILY[0], 30, seed=7))


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_best_equals_the_library(kind, fallback, tmp_path, lines):
    path = train(tmp_path, kind, fallback)
    segmenter = open_segmenter(path)
    vocabulary = open_vocabulary(vocabulary_config(path))
    for text in lines + ODD:
        plain = segmenter.processor.normalize(text)
        assert segmenter.best(plain) == vocabulary.encode(text).tolist(), text


def test_same_seed_same_ids_whatever_came_before(model, lines):
    config = vocabulary_config(model)
    first, second = SubwordSampler(config, 0.3), SubwordSampler(config, 0.3)
    forward = [first(line, 5, row).tolist() for row, line in enumerate(lines)]
    for row in reversed(range(len(lines))):
        assert second(lines[row], 5, row).tolist() == forward[row]
    assert [first(line, 6, row).tolist() for row, line in enumerate(lines)] != forward


def test_a_sample_spells_the_text(model, lines):
    config = vocabulary_config(model)
    vocabulary = open_vocabulary(config)
    sampler = SubwordSampler(config, 0.2)
    for row, text in enumerate(lines + ODD[:3]):
        best = vocabulary.encode(text)
        drawn = sampler(text, 1, row)
        assert vocabulary.decode(drawn) == vocabulary.decode(best)
        assert drawn.dtype == np.int32


def test_bpe_dropout_at_its_ends(tmp_path, lines):
    config = vocabulary_config(train(tmp_path, "bpe"))
    vocabulary = open_vocabulary(config)
    none, all_ = SubwordSampler(config, 0.0), SubwordSampler(config, 1.0)
    for line in lines:
        assert none(line, 0).tolist() == vocabulary.encode(line).tolist()
        assert len(all_(line, 0)) == len(line) + 1  # every merge dropped: letters


def test_bpe_dropout_makes_more_tokens_than_the_best(tmp_path, lines):
    config = vocabulary_config(train(tmp_path, "bpe"))
    vocabulary, sampler = open_vocabulary(config), SubwordSampler(config, 0.1)
    best = sum(len(vocabulary.encode(line)) for line in lines)
    drawn = sum(len(sampler(line, 0, row)) for row, line in enumerate(lines))
    assert 1.02 * best < drawn < 1.6 * best


def test_unigram_draws_follow_the_lattice(tmp_path, lines):
    """Frequencies equal the exact probabilities, which n-best lists with their scores."""
    config = vocabulary_config(train(tmp_path, "unigram", fallback=False))
    sampler, alpha, draws = SubwordSampler(config, 0.5), 0.5, 4000
    segmenter = open_segmenter(config.path)
    words = {word for line in lines for word in line.split() if word.isalpha()}
    found = [(segmenter.processor.nbest_encode(w, nbest_size=200), w) for w in sorted(words)]
    ways, word = max((f for f in found if len(f[0]) < 100), key=lambda f: len(f[0]))
    weights = [math.exp(alpha * sum(segmenter.processor.get_score(w))) for w in ways]
    counts = Counter(tuple(sampler(word, 3, row).tolist()) for row in range(draws))
    assert len(ways) > 10 and len(counts) > 5
    for way, weight in zip(ways, weights, strict=True):
        share = weight / sum(weights)
        sigma = math.sqrt(draws * share * (1 - share))
        assert abs(counts[tuple(way)] - draws * share) < 5 * sigma + 1


def test_what_cannot_be_sampled(tmp_path):
    with pytest.raises(UserError, match="SentencePiece vocabulary"):
        SubwordSampler(VocabularyConfig())
    with pytest.raises(UserError, match=r"chance in \[0, 1\]"):
        SubwordSampler(vocabulary_config(train(tmp_path, "bpe")), 1.5)
    (tmp_path / "bad.model").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        SubwordSampler(vocabulary_config(str(tmp_path / "bad.model")))
