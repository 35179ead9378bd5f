"""Runs of the first revision see the rows that they saw: digests were made by what came before."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.inventory import Inventory
from jaxlt.data.mixtures import open_evaluation, open_mixture
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.transfer import TransferConfig
from jaxlt.errors import UserError

KEPT = {"revision": 1} if "revision" in DataConfig.__dataclass_fields__ else {}
FIRST = KEPT | {"held_out": 0.2}
WORDS = ("kito", "bana", "selu", "maro", "teka", "lisa", "poda", "huru", "kito bana", "anasa")


def line(seed, count):
    return " ".join(WORDS[(seed * 7 + i * i * 3 + i * seed) % len(WORDS)] for i in range(count))


def write(folder):
    """Writes two languages of text, pairs, translations, questions and trees."""
    for code, step in (("aaa_Latn", 1), ("bbb_Latn", 2)):
        (folder / "text").mkdir(exist_ok=True)
        text = "".join(f"{line(i * step, 9)} {i}\n" for i in range(60))
        (folder / "text" / f"{code}.txt").write_text(text)
        (folder / "pairs").mkdir(exist_ok=True)
        pairs = "".join(f"{line(i * step, 5)} {i}\t{line(i, 2)}\n" for i in range(30))
        (folder / "pairs" / f"{code}.tsv").write_text(pairs)
    (folder / "bitext").mkdir()
    bitext = "".join(f"{line(i, 4)}\t{line(i + i % 3, 3)}\n" for i in range(30))
    (folder / "bitext" / "aaa_Latn-bbb_Latn.tsv").write_text(bitext)
    rows = ["lang\ttext\tenglish"]
    rows += [f"{('fra', 'deu')[i % 2]}\t{line(i, 2)} {i}\t{line(i // 3, 2)}" for i in range(60)]
    (folder / "table.tsv").write_text("\n".join(rows) + "\n")
    asked = []
    for i in range(20):
        context = f"{line(i, 4)} kito {line(i, 3)} kito."
        starts = [context.rindex("kito")]
        asked.append(
            {
                "lang": "en", "id": str(i), "question": f"Who {i}?", "context": context,
                "answers": ["kito"], "answer_start": starts,
                "split": "train" if i % 4 else "dev",
            }
        )  # fmt: skip
    (folder / "asked.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in asked))
    for split in ("train", "dev"):
        trees = ""
        for i in range(12):
            words = [WORDS[(i + j) % len(WORDS)] for j in range(4)]
            for j, word in enumerate(words):
                trees += f"{j + 1}\t{word}\t_\tNOUN\t_\t_\t{j}\t{'dep' if j else 'root'}\t_\t_\n"
            trees += "\n"
        (folder / f"en_a-{split}.conllu").write_text(trees)


def runs(folder):
    """Yields (name, config) of runs whose rows a mended rule changes."""
    common = FIRST | {"cache_dir": str(folder / "cache"), "batch_size": 8}
    text = common | {"sources": str(folder / "text"), "inputs_length": 48}
    paired = common | {"inputs_length": 64, "targets_length": 40, "objective": "text_to_text"}
    made = FactoryConfig((Family(2),), sentences=80, annotated=80, opinions=24, **KEPT)
    yield "spans", DataConfig(**text, mean_span=20.0)
    yield "mlm", DataConfig(**text, objective="mlm")
    noise = {"packing": "mixed", "text": TextConfig(noise=0.5, alphabet="abcdef")}
    yield "packed", DataConfig(**paired, sources=str(folder / "pairs"), **noise)
    bitext = paired | {"sources": str(folder / "bitext"), "objective": "translation"}
    yield "translation", DataConfig(**bitext)

    def tasks(*kinds, **more):
        listed = [TaskConfig(kind, sources=str(folder / file)) for kind, file in kinds]
        return DataConfig(**paired | more, tasks=tuple(listed), mixture="revision")

    yield "table", tasks(("translation", "table.tsv"))
    yield "questions", tasks(("questions", "asked.jsonl"))
    trees = ("parsing", "en_a-*.conllu"), ("tagging", "en_a-*.conllu")
    yield "trees", tasks(*trees)
    heads = {"objective": "heads", "inputs_length": 96, "words_length": 16}
    yield "heads", tasks(("questions", "asked.jsonl"), trees[0], **heads)
    few = TaskConfig("synthetic_tagging", factory=made)
    few_shot = TransferConfig("few_shot", sources="qaa_Latn", k=4)
    yield "few shot", DataConfig(**paired, tasks=few, mixture="revision", transfer=few_shot)
    yield (
        "made",
        DataConfig(**text | {"sources": ()}, tasks=TaskConfig("synthetic_text", factory=made)),
    )


def digest(config):
    """The first rows of training, all of the evaluation, and the fingerprints of both."""
    sha = hashlib.sha256()
    inventory = Inventory(labels={"parsing": ("dep", "root")})
    train, held_out = (f(config, inventory=inventory) for f in (open_mixture, open_evaluation))
    batches = [train.rows(step, 0, 8) for step in (0, 1, 2, 40)]
    batches += [held_out.rows(step, 0, 8) for step in range(held_out.num_batches)]
    for batch in batches:
        for name in sorted(batch.keys() - {"encoder_target_places"}):  # it follows from the weights
            sha.update(np.ascontiguousarray(batch[name]).tobytes())
    sha.update(f"{train.fingerprint} {held_out.fingerprint}".encode())
    return sha.hexdigest()[:16]


GOLDEN = {
    "spans": "1aa0bbb30f2a6bb6",
    "mlm": "47f75af3299ebde5",
    "packed": "04874d96362474a6",
    "translation": "f15d74051fea86a7",
    "table": "4c175fc6505404ff",
    "questions": "4a19cbd197ccf58e",
    "trees": "a0c41a9b00573b30",
    "heads": "0dfb1032ac07a113",
    "few shot": "e0234a86c44ed3e5",
    "made": "79a3a256f598fe75",
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("revisions")
    write(folder)
    return dict(runs(folder))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_first_revision_gives_the_rows_that_were_seen(configs, name):
    assert digest(configs[name]) == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_what_was_mended_is_other_data_since(configs, name):
    first = open_mixture(configs[name], inventory=Inventory(labels={"parsing": ("dep", "root")}))
    config = dataclasses.replace(configs[name], revision=2)
    latest = open_mixture(config, inventory=Inventory(labels={"parsing": ("dep", "root")}))
    assert first.fingerprint != latest.fingerprint


def test_answers_of_tables_are_learnt_where_they_stand(configs):
    """Each context of these has the answer twice, and the table means the last."""

    def spans(revision):
        inventory = Inventory(labels={"parsing": ("dep", "root")})
        config = dataclasses.replace(configs["heads"], revision=revision, shuffle=False)
        for opened in (open_mixture, open_evaluation):
            source = opened(config, inventory=inventory)
            for step in range(2):
                batch = source.rows(step, 0, 8)
                for row in np.flatnonzero(batch["span"][:, 0] >= 0):
                    ids, (first, last) = batch["encoder_input_tokens"][row], batch["span"][row]
                    text = bytes((ids[ids > 2] - 3).tolist())
                    answer = bytes((ids[first : last + 1] - 3).tolist())
                    ended = int((ids[:first] == 1).sum())  # the end of the question, before it
                    yield answer, text.rindex(b"kito") == first - ended

    assert {answer for answer, _ in spans(2)} == {b"kito"} and len(list(spans(2))) > 8
    assert all(is_last for _, is_last in spans(2))
    assert not any(is_last for _, is_last in spans(1))  # as it was


def test_what_was_held_out_of_a_table_is_remembered_by_its_content(tmp_path):
    rows = [f"fra\tmot {i}\tword {i}" for i in range(40)]

    def written(name, end):
        text = "lang\ttext\tenglish\n" + "\n".join(f"{row} {end}" for row in rows) + "\n"
        (tmp_path / f"{name}.tsv").write_text(text)

    def opened(name, seed, revision=2):
        return open_mixture(
            DataConfig(
                objective="text_to_text",
                tasks=TaskConfig("translation", sources=str(tmp_path / f"{name}.tsv")),
                mixture="remembered",
                held_out=0.2,
                split_seed=seed,
                revision=revision,
                cache_dir=str(tmp_path / f"cache{revision}"),
            )
        )

    written("one", "one")
    written("two", "two")
    opened("one", 0)
    opened("two", 1)  # other data under the name: it has a split of its own
    (tmp_path / "two.tsv").rename(tmp_path / "moved.tsv")
    with pytest.raises(UserError, match="would train on documents that were held out"):
        opened("moved", 2)
    opened("one", 0, revision=1)
    with pytest.raises(UserError, match=r"'remembered.translation' was split with"):
        opened("moved", 1, revision=1)  # as it was, whatever the data
