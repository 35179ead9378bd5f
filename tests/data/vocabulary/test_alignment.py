"""Words as tokens and back: exact in every treebank and entity file, in both vocabularies."""

import gzip
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.text.unicode import UnicodeConfig
from jaxlt.data.vocabulary.alignment import align, join_words
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary, vocabulary_config
from jaxlt.errors import UserError
from tests.pieces import train_pieces

SETTINGS = [UnicodeConfig(), UnicodeConfig("NFKC", "drop", "by_script")]


def conllu(path):
    """Yields (words, space_after) of a CoNLL-U file: multiword tokens as they are written."""
    words, spaces, inside = [], [], 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            columns = line.rstrip("\n").split("\t")
            if len(columns) < 10:
                if not line.strip() and words:
                    yield words, spaces
                    words, spaces, inside = [], [], 0
                continue
            if "-" in columns[0]:
                inside = int(columns[0].split("-")[1])
            elif int(columns[0]) <= inside:
                continue
            words.append(columns[1])
            spaces.append("SpaceAfter=No" not in columns[9])


def iob2(path):
    words, tags = [], []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            if "\t" in line:
                word, tag = line.rstrip("\n").split("\t")[:2]
                words.append(word)
                tags.append(tag)
            elif words and not line.startswith("#"):
                yield words, tags
                words, tags = [], []


@pytest.fixture(scope="module")
def vocabularies(shared_data, tmp_path_factory):
    """Bytes, and small SentencePiece models of both kinds, with T5's own normaliser."""
    lines = []
    for path in sorted((shared_data / "ud").glob("*-test.conllu.gz")):
        lines += [join_words(*sentence)[0] for sentence in islice(conllu(path), 0, 84, 7)]
    out = [open_vocabulary(VocabularyConfig())]
    for kind, size, fallback in (("unigram", 2600, False), ("bpe", 3000, True)):
        path = train_pieces(
            tmp_path_factory.mktemp("spm") / kind,
            lines,
            size,
            model_type=kind,
            byte_fallback=fallback,
            character_coverage=0.98,
            hard_vocab_limit=kind == "bpe",
            num_threads=2,
        )
        out.append(open_vocabulary(vocabulary_config(path)))
    return out


def check(vocabulary, text, spans, unicode) -> None:
    """Every span has tokens of its own, comes back as it was, and keeps its label."""
    aligned = align(vocabulary, text, spans, unicode)
    assert aligned.spans() == spans, text
    assert (aligned.first < aligned.stop).all()
    assert (aligned.stop[:-1] <= aligned.first[1:]).all()
    labels = np.arange(len(spans)) % 17
    assert (aligned.gather(aligned.spread(labels)) == labels).all()
    assert (aligned.starts <= aligned.ends).all() and (aligned.ends <= len(text)).all()
    assert (np.diff(aligned.starts) >= 0).all()


def test_every_treebank_round_trips(shared_data, vocabularies):
    seen = 0
    for path in sorted((shared_data / "ud").glob("*-test.conllu.gz")):
        for words, spaces in islice(conllu(path), 0, 46, 23):
            text, spans = join_words(words, spaces)
            assert [text[a:b] for a, b in spans] == words
            for vocabulary in vocabularies:
                for unicode in SETTINGS:
                    check(vocabulary, text, spans, unicode)
        seen += 1
    assert seen == 75


@pytest.mark.slow
def test_more_of_every_treebank_round_trips(shared_data, vocabularies):
    paths = sorted((shared_data / "ud").glob("*-test.conllu.gz"))
    paths += sorted((shared_data / "pud").glob("*.conllu.gz"))
    for path in paths:
        for words, spaces in islice(conllu(path), 60):
            text, spans = join_words(words, spaces)
            for vocabulary in vocabularies:
                check(vocabulary, text, spans, SETTINGS[1])


def test_every_entity_file_round_trips(shared_data, vocabularies):
    paths = sorted((shared_data / "ner").rglob("*test.iob2.gz"))
    paths += sorted((shared_data / "nc" / "ner").rglob("*test.iob2.gz"))
    assert len(paths) > 14
    for path in paths:
        for words, tags in islice(iob2(path), 0, 45, 9):
            text, spans = join_words(words)
            names = sorted(set(tags))
            labels = np.array([names.index(tag) for tag in tags])
            for vocabulary in vocabularies:
                aligned = align(vocabulary, text, spans, SETTINGS[1])
                back = [names[i] for i in aligned.gather(aligned.spread(labels))]
                assert back == tags and aligned.spans() == spans


words_of = st.text(
    st.characters(codec="utf-8", exclude_characters=" \u2581"), min_size=1, max_size=6
)


@given(
    st.lists(st.tuples(words_of, st.booleans()), min_size=1, max_size=8), st.sampled_from([0, 1])
)
@settings(max_examples=60, deadline=None)
def test_any_words_round_trip(vocabularies, pairs, setting):
    text, spans = join_words([w for w, _ in pairs], [s for _, s in pairs])
    for vocabulary in vocabularies:
        check(vocabulary, text, spans, SETTINGS[setting])


def test_tokens_without_spans_are_the_vocabularys_own(shared_data, vocabularies):
    path = shared_data / "ud" / "en_ewt-test.conllu.gz"
    for words, spaces in list(conllu(path))[:40]:
        text, _ = join_words(words, spaces)
        for vocabulary in vocabularies:
            assert align(vocabulary, text, []).ids.tolist() == vocabulary.encode(text).tolist()


def test_words_apart_leave_the_tokens_alone(shared_data, vocabularies):
    """Where spaces part all words nothing is cut: the ids are the vocabulary's own."""
    for words, _ in list(conllu(shared_data / "ud" / "wo_wtb-test.conllu.gz"))[:60]:
        text, spans = join_words(words)
        for vocabulary in vocabularies:
            ids = align(vocabulary, text, spans).ids.tolist()
            assert ids == vocabulary.encode(text).tolist()


def test_words_that_vanish_are_unk(vocabularies):
    for vocabulary in vocabularies:
        aligned = align(vocabulary, "a \u200c b", [(0, 1), (2, 3), (4, 5)], SETTINGS[1])
        assert aligned.ids[aligned.first[1]] == 2
        assert aligned.spans() == [(0, 1), (2, 3), (4, 5)]


def test_bad_spans_are_named(vocabularies):
    for spans in ([(0, 2), (1, 3)], [(2, 2)], [(0, 9)]):
        with pytest.raises(UserError, match="Span"):
            align(vocabularies[0], "abc def", spans)
    with pytest.raises(UserError, match="2 labels were given for 1 words"):
        align(vocabularies[0], "abc", [(0, 3)]).spread([1, 2])
