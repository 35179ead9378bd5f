"""Text settings on labelled tasks: words change, labels stay on their words."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlt.config import load
from jaxlt.data import inventory
from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import examples_of, open_evaluation, open_mixture, training_examples
from jaxlt.data.rows.batches import stream
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks import streamed
from jaxlt.data.text.noise import CharacterNoise, alphabet_of
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.text.translit import RandomMap
from jaxlt.data.vocabulary.subwords import SubwordSampler
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError
from tests.pieces import train_pieces

KINDS = ("tagging", "parsing", "entities", "pairs", "sentiment")
FACTORY = FactoryConfig((Family(2),), sentences=120, annotated=28, opinions=12)
ONE, OTHER = "qaa_Latn", "qab_Latn"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return DataConfig(
        objective="heads",
        tasks=[TaskConfig(f"synthetic_{kind}", factory=FACTORY) for kind in KINDS],
        inputs_length=600,
        held_out=0.4,
        batch_size=4,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )


def examples(config, split="validation"):
    """What heads see, by task."""
    found = inventory.take(training_examples(config), {t.label: 0 for t in config.tasks})
    source = open_evaluation(config, split, inventory=found)
    return {t.name: [one for _, one in of] for t, of in examples_of(config, split, source)}


def changed(config, **settings):
    return replace(config, text=TextConfig(**settings))


def pairs(config, other):
    """Yields (task, example, the same one under the other config)."""
    left, right = examples(config), examples(other)
    assert left.keys() == right.keys() and len(left) == 2 * len(KINDS)
    for name in left:
        assert len(left[name]) == len(right[name]) > 0
        for one, same in zip(left[name], right[name], strict=True):
            yield name, one, same


def test_words_are_changed_one_by_one_and_labels_stay(plain):
    swap = RandomMap("abcdefghijklmnopqrstuvwxyz", 3)
    moved = changed(plain, random_map=True, random_seed=3, transliterated=(ONE,))
    for name, one, same in pairs(plain, moved):
        change = swap if name.endswith(ONE) else str
        assert same.words == tuple(map(change, one.words))
        assert same.texts == tuple(map(change, one.texts))
        kept = {"words": (), "texts": ()}
        assert replace(same, **kept) == replace(one, **kept)


def test_rows_hold_the_changed_words_and_the_same_labels(plain):
    one = replace(plain, tasks=plain.tasks[:1], shuffle=False)
    moved = changed(one, random_map=True)
    names = inventory.take(training_examples(one), {"synthetic_tagging": 0})
    rows, others = (open_mixture(c, inventory=names).rows(0, 0, 4) for c in (one, moved))
    assert (rows["word_labels"] == others["word_labels"]).all()
    assert (rows["word_first"] == others["word_first"]).all()  # a letter for a letter
    assert (rows["encoder_input_tokens"] != others["encoder_input_tokens"]).any()
    assert open_mixture(moved, inventory=names).fingerprint != open_mixture(one).fingerprint


def test_where_settings_hold_is_said_in_a_word():
    said = {"usual": (1, 1, 1, 0), "training": (1, 1, 0, 0), "evaluation": (0, 0, 1, 1)}
    for labelled, wanted in (said | {"both": (1, 1, 1, 1)}).items():
        config = TextConfig(labelled=labelled)
        assert config.on_labelled("train") + config.on_labelled("validation") == wanted


@pytest.mark.parametrize("labelled", ["usual", "evaluation"])
def test_noise_is_where_it_is_asked_for_and_a_letter_a_word(plain, labelled):
    one = replace(plain, tasks=plain.tasks[:1])
    noisy = changed(one, noise=0.5, noisy=(ONE,), labelled=labelled)
    for split in ("train", "validation"):
        left, right = examples(one, split), examples(noisy, split)
        name = f"synthetic_tagging.{ONE}"
        both = list(zip(left[name], right[name], strict=True))
        assert all(len(a.words) == len(b.words) and a.labels == b.labels for a, b in both)
        words = [two for x, y in both for two in zip(x.words, y.words, strict=True)]
        assert all(abs(len(a) - len(b)) < 2 for a, b in words)
        assert (left[name] != right[name]) == ((labelled == "usual") == (split == "train"))
        assert right == examples(noisy, split)  # drawn once
        assert left[f"synthetic_tagging.{OTHER}"] == right[f"synthetic_tagging.{OTHER}"]


def opened(config):
    """(mixture, examples by task) of what trains."""
    rows = {t.label: 0 for t in config.tasks}
    names = inventory.take(training_examples(config), rows, words=90, chars=40)
    told = streamed.labelled_examples(config, "train")
    return open_mixture(config, inventory=names), {n: [e for _, e in of] for n, of in told}


def visited(mixture, steps):
    """Yields (task, its example's number, global row, the row's fields)."""
    for step in range(steps):
        batch, row = mixture.rows(step, 0, 4), step * 4 + np.arange(4)
        for i, (text, index) in enumerate(zip(*mixture._drawn(row), strict=True)):
            fields = {name: values[i] for name, values in batch.items() if "language" not in name}
            yield mixture._make.texts[text].name, int(index), int(row[i]), fields


def row_of(mixture, task, example):
    labels = mixture._make.objective
    (piece,) = labels.pieces(task.partition(".")[0], example)
    return {name: values[0] for name, values in labels.batch([piece]).items()}


def assert_same(row, wanted):
    assert row.keys() == wanted.keys()
    assert all(np.array_equal(row[name], wanted[name]) for name in row)


@pytest.mark.parametrize("reads", ["tokens", "words"])
def test_noise_is_new_at_each_visit_and_labels_stay(plain, reads):
    tasks = plain.tasks if reads == "tokens" else plain.tasks[::4]  # tags and a class
    plain = replace(plain, seed=5, reads=reads, tasks=tasks)
    field = "words" if reads == "words" else "encoder_input_tokens"
    mixture, told = opened(changed(plain, noise=0.4, noisy=(ONE,), anew=True))
    every = {task: (" ".join([*e.words, *e.texts]) for e in of) for task, of in told.items()}
    noises = {task: CharacterNoise(alphabet_of(said), 0.4) for task, said in every.items()}
    seen = {}
    for task, number, row, fields in visited(mixture, 50 if reads == "tokens" else 30):
        example = told[task][number]
        if task.endswith(ONE):  # as if the example itself were misspelt, and read like any other
            noise, draws = noises[task], stream(5, "misspell", row)
            words = tuple(noise.words(example.words, draws))
            texts = tuple(noise(text, draws) for text in example.texts)
            example = replace(example, words=words, texts=texts)
        assert_same(fields, row_of(mixture, task, example))
        seen.setdefault((task, number), []).append(fields[field].tobytes())
    again = [spelt for spelt in seen.items() if len(spelt[1]) > 1]
    apart = {task.endswith(ONE) for (task, _), rows in again if len(set(rows)) > 1}
    assert apart == {True}, len(again)
    once = opened(changed(plain, noise=0.4, noisy=(ONE,)))[0]
    assert len({m.fingerprint for m in (mixture, once, opened(plain)[0])}) == 3
    for one, same in zip(visited(mixture, 2), visited(mixture, 2), strict=True):
        assert_same(one[3], same[3])


@pytest.fixture(scope="module")
def tagged(plain, tmp_path_factory):
    """Tags of words in pieces of BPE."""
    one = replace(plain, tasks=plain.tasks[:1], seed=5)
    said = [" ".join(e.words) for of in opened(one)[1].values() for e in of]
    path = train_pieces(tmp_path_factory.mktemp("bpe") / "bpe", said, 200, model_type="bpe")
    return replace(one, vocabulary=path, inputs_length=120)


def test_words_are_cut_anew_at_each_visit(tagged):
    mixture, told = opened(changed(tagged, subwords=0.3))
    best = SubwordSampler(tagged.vocabulary_config, 0.0)
    sampler = SubwordSampler(tagged.vocabulary_config, 0.3)
    finer = 0
    for task, number, row, fields in visited(mixture, 20):
        example = told[task][number]
        usual = row_of(mixture, task, example)
        assert_same(usual, row_of(mixture, task, replace(example, cut=lambda p: best.tokens(p, 0))))
        cut = lambda plain, row=row: sampler.tokens(plain, 5, row)  # noqa: E731
        assert_same(fields, row_of(mixture, task, replace(example, cut=cut)))
        spelt = open_vocabulary(tagged.vocabulary_config).decode(fields["encoder_input_tokens"])
        assert spelt == " ".join(example.words)
        finer += (fields["encoder_input_tokens"] > 0).sum() > (
            usual["encoder_input_tokens"] > 0
        ).sum()
    assert finer > 40


def test_what_no_longer_fits_goes_back_and_no_label_is_lost(tagged):
    usual = opened(tagged)[0]
    longest = max(
        int((fields["encoder_input_tokens"] > 0).sum()) for *_, fields in visited(usual, 30)
    )
    tight = replace(tagged, inputs_length=longest)
    tight = changed(tight, subwords=1.0, noise=0.8, edits=("insert",))
    mixture, told = opened(tight)
    kept = set()
    for task, number, _, fields in visited(mixture, 30):
        wanted = row_of(usual, task, told[task][number])
        words = told[task][number].words
        assert np.array_equal(fields["word_labels"], wanted["word_labels"])
        assert (fields["word_first"][: len(words)] >= 0).all()
        spelt = open_vocabulary(tight.vocabulary_config).decode(fields["encoder_input_tokens"])
        assert len(spelt.split()) == len(words)
        kept.add(sum(a != b for a, b in zip(spelt.split(), words, strict=True)) / len(words))
    assert min(kept) < 0.3 and max(kept) > 0.5


def test_rows_of_like_length_stay_as_narrow(tagged):
    alike = replace(tagged, length_buckets=3, inputs_length=128)
    noisy, plainly = opened(changed(alike, subwords=0.4))[0], opened(alike)[0]
    widths = set()
    for step in range(12):
        rows, others = noisy.rows(step, 0, 4), plainly.rows(step, 0, 4)
        assert all(rows[name].shape == other.shape for name, other in others.items())
        assert np.array_equal(rows["word_labels"], others["word_labels"])
        assert np.array_equal(rows["word_first"] >= 0, others["word_first"] >= 0)
        assert rows["word_first"].max() < rows["encoder_input_tokens"].shape[1]
        widths.add(rows["encoder_input_tokens"].shape)
    assert len(widths) > 1


def test_evaluation_is_cut_once_and_answers_see_the_same(tagged):
    split = changed(tagged, subwords=0.5, labelled="evaluation")
    names = inventory.take(training_examples(split), {"synthetic_tagging": 0})
    source, usual = (open_evaluation(c, inventory=names) for c in (split, tagged))
    rows, others = (s.rows(0, 0, 4)["encoder_input_tokens"] for s in (source, usual))
    assert (rows != others).any() and (rows == source.rows(0, 0, 4)["encoder_input_tokens"]).all()
    labels = source._make.objective
    asked = {t.name: of for t, of in examples_of(split, "validation", source)}
    texts = [source._make.texts[which].name for which in source._text[:4]]
    for task, index, ids in zip(texts, source._index, rows, strict=False):
        (piece,) = labels.pieces("synthetic_tagging", asked[task][index][1])
        assert np.array_equal(labels.batch([piece])["encoder_input_tokens"][0], ids)
    plainly, noisy = (opened(c)[0].rows(0, 0, 4) for c in (tagged, split))
    assert_same(noisy, plainly)


def test_glosses_leave_as_many_words(plain, tmp_path):
    one = replace(plain, tasks=plain.tasks[:1])
    word = examples(one)[f"synthetic_tagging.{ONE}"][0].words[0]
    (tmp_path / "d.tsv").write_text(f"english\ttranslation\n{word.lower()}\ttwo words\n")
    glossed = changed(one, dictionary=str(tmp_path / "d.tsv"), glossed=(ONE,), unknown_words="drop")
    first = examples(glossed)[f"synthetic_tagging.{ONE}"][0]
    assert first.words[0].lower() == "two words"
    assert len(first.words) == len(first.labels)  # what a drop would leave empty stays


def test_what_cannot_be(plain):
    with pytest.raises(UserError, match=r"subwords samples the pieces.*read 'tokens'"):
        replace(changed(plain, subwords=0.1), reads="words")
    asked = replace(plain, tasks=TaskConfig("synthetic_questions", factory=FACTORY))
    with pytest.raises(UserError, match=r"answers of 'synthetic_questions' stand at places"):
        changed(asked, noise=0.1)
    with pytest.raises(UserError, match=r"noisy names 'qaa_Latm'.*Did you mean 'qaa_Latn'"):
        open_mixture(changed(plain, noise=0.1, noisy=("qaa_Latm",)))
    with pytest.raises(UserError, match=r"labelled is one of.*Did you mean 'evaluation'"):
        TextConfig(labelled="evaluatio")


def test_gin_says_it():
    files = ["models/byt5_small.gin", "runs/heads.gin", "heads/tagging.gin", "data/noise.gin"]
    given = ["TextConfig.labelled='both'", "CORPORA='x'", "WORKDIR='w'", "INIT_FROM='b'"]
    assert load(files, given).data.text.labelled == "both"
