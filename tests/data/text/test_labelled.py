"""Text settings on labelled tasks: words change, labels stay on their words."""

from dataclasses import replace

import pytest

from jaxlt.config import load
from jaxlt.data import inventory
from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import examples_of, open_evaluation, open_mixture, training_examples
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.text.translit import RandomMap
from jaxlt.errors import UserError

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


@pytest.mark.parametrize(
    ("labelled", "splits"),
    [("usual", {"train"}), ("training", {"train"}), ("evaluation", {"validation"}), ("both", None)],
)
def test_noise_is_where_it_is_asked_for_and_a_letter_a_word(plain, labelled, splits):
    one = replace(plain, tasks=plain.tasks[:1])
    noisy = changed(one, noise=0.5, noisy=(ONE,), labelled=labelled)
    for split in ("train", "validation"):
        left, right = examples(one, split), examples(noisy, split)
        name = f"synthetic_tagging.{ONE}"
        both = list(zip(left[name], right[name], strict=True))
        assert all(len(a.words) == len(b.words) and a.labels == b.labels for a, b in both)
        words = [two for x, y in both for two in zip(x.words, y.words, strict=True)]
        assert all(abs(len(a) - len(b)) < 2 for a, b in words)
        assert (left[name] != right[name]) == (splits is None or split in splits)
        assert right == examples(noisy, split)  # drawn once
        assert left[f"synthetic_tagging.{OTHER}"] == right[f"synthetic_tagging.{OTHER}"]


def test_glosses_leave_as_many_words(plain, tmp_path):
    one = replace(plain, tasks=plain.tasks[:1])
    word = examples(one)[f"synthetic_tagging.{ONE}"][0].words[0]
    (tmp_path / "d.tsv").write_text(f"english\ttranslation\n{word.lower()}\ttwo words\n")
    glossed = changed(one, dictionary=str(tmp_path / "d.tsv"), glossed=(ONE,), unknown_words="drop")
    first = examples(glossed)[f"synthetic_tagging.{ONE}"][0]
    assert first.words[0].lower() == "two words"
    assert len(first.words) == len(first.labels)  # what a drop would leave empty stays


def test_what_cannot_be(plain):
    with pytest.raises(UserError, match=r"subwords samples pieces.*set it to 0"):
        changed(plain, subwords=0.1)
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
