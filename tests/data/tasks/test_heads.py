"""Tasks of heads through the cache: rows are those of their examples, in batches of any kind."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxlt.data import inventory as names
from jaxlt.data.config import DataConfig
from jaxlt.data.inventory import NOTHING
from jaxlt.data.mixtures import (
    build_objective,
    examples_of,
    open_evaluation,
    open_mixture,
    training_examples,
)
from jaxlt.data.readers import conllu
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.kind import USUAL, kind_of
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError
from tests.data.head_files import write_entities, write_table, write_treebanks


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_treebanks(tmp_path_factory.mktemp("files") / "ud")


@pytest.fixture(scope="module")
def config(files, tmp_path_factory):
    return DataConfig(
        mixture="heads",
        objective="heads",
        tasks=(TaskConfig("tagging", str(files)), TaskConfig("parsing", str(files))),
        inputs_length=40,
        words_length=4,
        batch_size=8,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )


@pytest.fixture(scope="module")
def inventory(config):
    return names.take(training_examples(config), {"tagging": 4, "parsing": 8})


def rows_of(batch):
    """Rows as values that compare, without what says whose they are."""
    fields = sorted(set(batch) - {"language", "row"})
    return [tuple(batch[f][i].tobytes() for f in fields) for i in range(len(batch["head"]))]


def expected(config, inventory, files, split):
    """Rows of all examples, each by itself, read by the library's plain readers."""
    labels = build_objective(config, open_vocabulary(config.vocabulary_config), inventory)
    found = []
    for kind in map(kind_of, ("tagging", "parsing")):
        for path in sorted(files.glob(f"*-{split}.conllu")):
            for one in conllu.read(str(path)):
                for piece in labels.pieces(kind.name, kind.example(*kind.form(one, USUAL))):
                    found += rows_of(labels.batch([piece]))
    return found


def test_names_are_those_of_training(config, inventory):
    assert inventory.labels == {"tagging": ("NOUN", "VERB"), "parsing": ("nsubj", "obj", "root")}
    seen = list(training_examples(config))
    assert len(seen) == 2 * 2 * 24 and all(len(m.words) == 3 for _, m in seen)
    one = dataclasses.replace(config, rates=(("fr_b", 1.0),))
    with pytest.raises(UserError, match="'fr_b'"):
        list(training_examples(one))
    one = dataclasses.replace(config, rates=(("tagging.fr_b.fra_Latn", 1.0),))
    assert [head for head, _ in training_examples(one)] == ["tagging"] * 24


def test_a_mixture_has_the_rows_of_its_examples(config, inventory, files):
    source = open_mixture(config, inventory=inventory)
    assert set(source.languages) == {"eng_Latn", "fra_Latn"}
    got = [row for step in range(40) for row in rows_of(source.rows(step, 0, 8))]
    wanted = expected(config, inventory, files, "train")
    assert len(wanted) == 96 and set(got) == set(wanted)
    for name, (shape, dtype) in source.spec().items():
        value = source.rows(3, 2, 5)[name]
        assert value.shape == (3, *shape) and value.dtype == dtype
    words = dataclasses.replace(config, reads="words")
    assert open_mixture(words, inventory=inventory).fingerprint != source.fingerprint


def test_other_labels_are_read_from_the_same_cache(config, inventory, files):
    source = open_mixture(config, inventory=inventory)
    tokens = Path(config.cache_dir) / "tokens"
    before = sorted(tokens.iterdir())
    labels = {head: (*reversed(known[1:]), "new") for head, known in inventory.labels.items()}
    other = dataclasses.replace(inventory, labels=labels)
    again = open_mixture(config, inventory=other)
    assert again.fingerprint != source.fingerprint and sorted(tokens.iterdir()) == before
    got = [row for step in range(40) for row in rows_of(again.rows(step, 0, 8))]
    assert set(got) == set(expected(config, other, files, "train"))


def test_a_pass_has_each_row_once_and_what_fills_it_is_empty(config, inventory, files):
    source = open_evaluation(dataclasses.replace(config, batch_size=7), inventory=inventory)
    assert source.num_rows == 2 * 2 * 8
    batches = [source.rows(step, 0, 7) for step in range(source.num_batches)]
    got = [row for batch in batches for row in rows_of(batch)][: source.num_rows]
    assert sorted(got) == sorted(expected(config, inventory, files, "dev"))
    filler = {n: v[source.num_rows % 7 :] for n, v in batches[-1].items()}
    assert all(not np.asarray(v).any() for v in filler.values())


def test_examples_behind_a_pass_are_told(config, inventory):
    short = dataclasses.replace(config, words_length=2, overlength="window")
    source = open_evaluation(short, inventory=inventory)
    assert source.num_rows == 2 * 2 * 8 * 2  # each sentence in two parts
    told = {text.name: asked for text, asked in examples_of(short, "validation", source)}
    assert len(told) == 4 and all(len(asked) == 8 for asked in told.values())
    inputs, marked = told["tagging.en_a.eng_Latn"][0]
    assert inputs == "pos: " + " ".join(marked.words) and marked.labels[1] == "VERB"


def test_what_is_longer_than_a_row_stops_is_left_out_or_parted(config, inventory, caplog):
    short = dataclasses.replace(config, words_length=2)
    with pytest.raises(UserError, match=r"longer than DataConfig\.inputs_length"):
        open_mixture(short, inventory=inventory)
    with pytest.raises(UserError, match="None of the run's tasks"):
        open_mixture(dataclasses.replace(short, overlength="leave_out"), inventory=inventory)
    with caplog.at_level("WARNING"):
        open_mixture(dataclasses.replace(short, overlength="window"), inventory=inventory)
    assert "Of 24 examples of 'tagging.en_a.eng_Latn', 24 read in parts" in caplog.text
    # What is left out is still scored, as wrong: its rows hold nothing.
    source = open_evaluation(
        dataclasses.replace(short, overlength="leave_out"), inventory=inventory
    )
    assert all(len(asked) == 8 for _, asked in examples_of(short, "validation", source))
    batch = source.rows(0, 0, 4)
    assert not batch["encoder_input_tokens"].any() and (batch["word_first"] == -1).all()


def test_labels_that_training_had_not_are_unknown(config):
    few = dataclasses.replace(config, tasks=config.tasks[:1])
    known = names.Inventory({"tagging": ("VERB",)})
    batch = open_evaluation(few, inventory=known).rows(0, 0, 8)
    assert (batch["word_labels"][:, :3] == [-1, 0, -1]).all()
    assert (open_evaluation(few, inventory=NOTHING).rows(0, 0, 8)["word_labels"] == -1).all()


def test_entities_with_their_tags(tmp_path):
    config = DataConfig(
        objective="heads",
        tasks=(TaskConfig("entities", str(write_entities(tmp_path / "ner"))),),
        inputs_length=40,
        words_length=4,
        batch_size=8,
        cache_dir=str(tmp_path / "cache"),
    )
    found = names.take(training_examples(config), {"entities": 8})
    assert set(found.labels["entities"]) == {"O", "B-PER", "B-LOC", "I-LOC"}
    batch = open_mixture(config, inventory=found).rows(0, 0, 8)
    person = found.labels["entities"].index("B-PER")
    assert (batch["word_labels"][:, 0] == person).all()


@pytest.mark.parametrize("kind", ["topics", "pairs", "questions"])
def test_tables(kind, tmp_path):
    path = write_table(tmp_path / f"{kind}.jsonl", kind)
    config = DataConfig(
        objective="heads",
        tasks=(TaskConfig(kind, str(path)),),
        inputs_length=40,
        batch_size=8,
        held_out=0.3,
        cache_dir=str(tmp_path / "cache"),
    )
    found = names.take(training_examples(config), {kind: 8})
    wanted = {"topics": {"animal", "other"}, "pairs": {"0", "1"}, "questions": set()}[kind]
    assert set(found.labels[kind]) == wanted
    batch = open_mixture(config, inventory=found).rows(0, 0, 8)
    if kind == "questions":
        first, last = batch["span"].T
        assert (first > 0).all() and (last >= first).all()
        assert np.take_along_axis(batch["context"], batch["span"], axis=1).all()
    else:
        assert (batch["label"] >= 0).all()
    assert set(open_evaluation(config, inventory=found).rows(0, 0, 8)["language"]) == {0, 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packing": "language"}, r"packing = 'language': a row of heads holds one example"),
        ({"tasks": ()}, r"learns tasks: give DataConfig\.tasks"),
        ({"objective": "mlm", "reads": "words", "tasks": ()}, r"reads = 'words' is for.*'heads'"),
        (
            {"overlength": "cut"},
            r"DataConfig.overlength is one of refuse, leave_out, window, not 'cut'",
        ),
        ({"reads": "word"}, r"reads is one of tokens, words.*Did you mean 'words'"),
        ({"words_length": 0}, r"words_length is at least 1, not 0"),
    ],
)
def test_what_has_no_meaning_with_heads(config, changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(config, **changes)


def test_only_what_has_a_head(files):
    with pytest.raises(UserError, match="no head for tasks of the kind 'translation'"):
        DataConfig(
            objective="heads", tasks=(TaskConfig("translation", str(files), pivot="eng_Latn"),)
        )
