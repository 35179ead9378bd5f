"""Sampling segmentations: equal to the library where nothing is random, seeded where it is."""

import functools
import math
from collections import Counter

import numpy as np
import pytest

from jaxlt.data.synth.languages import FAMILY, generate
from jaxlt.data.vocabulary.subwords import SubwordSampler, open_segmenter
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary, vocabulary_config
from jaxlt.errors import UserError
from tests.pieces import train_pieces

ODD = ["日本 x", "▁ a  b ", "naïve ﬁne ½", "", "zzz qqq", "aaaa"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(kind, with byte fallback) -> the path of a small model; each is trained once."""
    folder = tmp_path_factory.mktemp("spm")

    @functools.cache
    def train(kind: str, fallback: bool = True) -> str:
        path, lines = folder / f"{kind}{fallback}", generate(FAMILY[0], 1000)
        return train_pieces(path, lines, 420, model_type=kind, byte_fallback=fallback)

    return train


@pytest.fixture(params=["unigram", "bpe"])
def model(request, trained):
    return trained(request.param)


@pytest.fixture(scope="module")
def lines():
    return list(generate(FAMILY[0], 30, seed=7))


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_best_equals_the_library(kind, fallback, trained, lines):
    path = trained(kind, fallback)
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


def test_bpe_dropout_at_its_ends(trained, lines):
    config = vocabulary_config(trained("bpe"))
    vocabulary = open_vocabulary(config)
    none, all_ = SubwordSampler(config, 0.0), SubwordSampler(config, 1.0)
    for line in lines:
        assert none(line, 0).tolist() == vocabulary.encode(line).tolist()
        assert len(all_(line, 0)) == len(line) + 1  # every merge dropped: letters


def test_bpe_dropout_makes_more_tokens_than_the_best(trained, lines):
    config = vocabulary_config(trained("bpe"))
    vocabulary, sampler = open_vocabulary(config), SubwordSampler(config, 0.1)
    best = sum(len(vocabulary.encode(line)) for line in lines)
    drawn = sum(len(sampler(line, 0, row)) for row, line in enumerate(lines))
    assert 1.02 * best < drawn < 1.6 * best


def test_unigram_draws_follow_the_lattice(trained, lines):
    """Frequencies equal the exact probabilities, which n-best lists with their scores."""
    config = vocabulary_config(trained("unigram", False))
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


def test_what_cannot_be_sampled(trained, tmp_path):
    with pytest.raises(UserError, match="SentencePiece vocabulary"):
        SubwordSampler(VocabularyConfig())
    with pytest.raises(UserError, match=r"chance in \[0, 1\]"):
        SubwordSampler(vocabulary_config(trained("bpe")), 1.5)
    (tmp_path / "bad.model").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        SubwordSampler(vocabulary_config(str(tmp_path / "bad.model")))
