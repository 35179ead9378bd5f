"""The contract of kinds of task, a row a kind: written is read back, judged and filled in."""

import itertools
import json
from dataclasses import dataclass, field

import pytest

from jaxlt.data.config import DataConfig
from jaxlt.data.head_example import HeadExample
from jaxlt.data.readers.iob2 import tags_of
from jaxlt.data.synth.families import FactoryConfig, Family
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.configured import streams
from jaxlt.data.tasks.kind import USUAL, kind_of
from jaxlt.data.tasks.questions import spaced
from jaxlt.data.tasks.registry import KINDS, OWN_FILES
from jaxlt.errors import UserError
from jaxlt.inference.asking import BY_WORD
from jaxlt.inference.formats import FORMATS
from jaxlt.inference.judging import Judging
from jaxlt.metrics.scores import METRICS, score

ROW = "{}\t{}\t_\t{}\t_\t_\t{}\t{}\t_\t_\n"
TREE = ROW.format(1, "10 000", "NUM", 2, "nsubj") + ROW.format(2, "barks", "VERB", 0, "root") + "\n"
FACTORY = FactoryConfig((Family(2, mixed=0.3),), sentences=24, annotated=6, opinions=6, parallel=6)
LANGUAGES = ("eng_Latn", "swh_Latn")


def table(**columns):
    """Rows of both languages as JSON lines."""
    rows = ({"lang": lang, "id": str(i)} | columns for i in range(6) for lang in LANGUAGES)
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@dataclass(frozen=True)
class Row:
    """A kind's files by name (none of a made kind), one of its forms, and what it has beside them.

    filled: a file in a format with places for answers, as it is with the right ones.
    """

    files: dict[str, str] = field(default_factory=dict)
    form: tuple[str, str] = ("", "")
    own: dict[str, object] = field(default_factory=dict)
    filled: tuple[str, str] = ("", "")


LINES = {f"{c}.txt": "".join(f"{c} {i}\n" for i in range(6)) for c in LANGUAGES}
WORDS = "pair\tsplit\tsource\ttarget\nen-sw\ttrain\tdog\tmbwa\n"
TRIPLES = "lang\trelation\tsub_uri\tobj_uri\tsub_label\tobj_label\nen\tP\tQ\tR\tAda\tmaths\n"
SAID = "lang\trelation\tpattern\tchecked_by_human\nen\tP\t[X] does [Y]\t1\n"
TAGGED = "Ada\tB-PER\nLovelace\tI-PER\nin\tO\nNew York\tB-LOC\n\n"
ROWS = {
    "tagging": Row(
        {"en_x-train.conllu": TREE},
        ("pos: 10\u2423000 barks", "NUM VERB"),
        filled=("conllu", TREE),
    ),
    "parsing": Row(
        {"en_x-train.conllu": TREE},
        ("parse: 10\u2423000 barks", "+1:nsubj 0:root"),
        filled=("conllu", TREE),
    ),
    "entities": Row(
        {"en_x-train.iob2": TAGGED},
        ("tag: Ada Lovelace in New York", "PER: Ada Lovelace $$ LOC: New York"),
        filled=("iob2", TAGGED),
    ),
    "topics": Row(
        {"t.jsonl": table(category="geo", text="it: rains")}, ("topic: it: rains", "geo")
    ),
    "pairs": Row(
        {"p.jsonl": table(premise="A b.", hypothesis="C", label="neutral")},
        ("xnli: premise: A b. hypothesis: C", "1"),
    ),
    "questions": Row(
        {"q.jsonl": table(question="Who?", context="By Ada.", answers=["Ada", "By Ada"])},
        ("question: Who ? context: By Ada . ", "Ada"),
    ),
    "translation": Row(LINES, ("<2swh_Latn> eng_Latn 3", "swh_Latn 3")),
    "words": Row({"d.tsv": WORDS}, ("<2swa_Latn> dog", "mbwa")),
    "texts": Row({"x.jsonl": table(text="a text")}),
    "facts": Row({"f.tsv": TRIPLES}, ("fact: Ada does [Y]", "maths"), {"templates": SAID}),
    "denoise": Row(LINES),
    **{name: Row() for name in KINDS if name.startswith("synthetic_")},
}


def test_every_kind_has_a_row():
    assert set(ROWS) == set(KINDS)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A function: kind -> (kind, its streams by name), made once."""
    found = {}

    def open_one(name):
        if name not in found:
            row, folder = ROWS[name], tmp_path_factory.mktemp(name)
            (folder / "files").mkdir()
            for file, text in row.files.items():
                (folder / "files" / file).write_text(text, encoding="utf-8")
            own = {}
            for option, text in row.own.items():
                own[option] = str(folder / f"{option}.tsv")
                (folder / f"{option}.tsv").write_text(text)
            if row.files:
                task = TaskConfig(name, str(folder / "files"), **own)
            else:
                task = TaskConfig(name, factory=FACTORY)
            config = DataConfig(
                objective="text_to_text" if task.paired else "span_corruption",
                mixture="contract",
                tasks=task,
                held_out=0.0,
                cache_dir=str(folder / "cache"),
            )
            of = {stream_name: stream for stream_name, (_, stream) in streams(config).items()}
            found[name] = kind_of(name), of
        return found[name]

    return open_one


def examples(opened, name, most=5):
    """The kind, and the first (inputs, targets) of each of its streams."""
    kind, of = opened(name)
    return kind, [
        form for one in of.values() for form in itertools.islice(one.examples("train"), most)
    ]


def asked_of(kind, inputs):
    """What was asked, from the inputs: words, texts, (text, language), or one text."""
    if kind.shape:
        example = kind.example(inputs, "")
        one = example.words or (example.texts if len(example.texts) > 1 else example.texts[0])
        return one
    if kind.task == "translate":
        target, _, text = inputs.removeprefix("<2").partition("> ")
        return text, target
    return inputs.partition(": ")[2]


def written(kind, asked, answer):
    """The text form of what was read: a head's way to write it, where there is one."""
    if kind.shape == "tree":
        return kind.answer(HeadExample("tree", asked), answer[1], answer[0])
    if kind.shape == "entities":
        return kind.answer(HeadExample("entities", asked), tags_of(answer, len(asked)))
    return kind.answer(HeadExample("tags", asked), answer) if kind.shape == "tags" else answer


PAIRED = [name for name in ROWS if name not in ("texts", "denoise", "synthetic_text")]


@pytest.mark.parametrize("name", PAIRED)
def test_what_is_written_is_read_back(name, opened):
    kind, found = examples(opened, name)
    assert found
    if ROWS[name].files:
        assert ROWS[name].form in found
    for inputs, targets in found:
        asked = asked_of(kind, inputs)
        if kind.shape != "span":  # whose spaces around punctuation cannot be taken back
            assert kind.inputs(asked, USUAL) == inputs
        assert written(kind, asked, kind.read(targets, asked)) == targets


HEADED = [name for name in PAIRED if kind_of(name).shape]


@pytest.mark.parametrize("name", HEADED)
def test_the_text_form_and_the_form_of_heads_agree(name, opened):
    kind, of = opened(name)
    for stream in of.values():
        both = zip(stream.examples("train"), stream.for_heads("train"), strict=True)
        for (inputs, targets), form in itertools.islice(both, 5):
            example = kind.example(*form)
            assert example.shape == kind.shape
            text = kind.answer(example, example.labels or (example.label,), example.heads)
            assert text.strip(" ") == targets.strip(" ")
            unlabelled = kind.example(inputs, "")
            assert not (unlabelled.labels or unlabelled.label or unlabelled.heads)
            if kind.shape != "entities":  # whose text form keeps no tokens
                assert (unlabelled.words, unlabelled.texts) == (example.words, example.texts)
            if example.place >= 0:
                assert example.texts[1].startswith(example.label, example.place)


SEPARATED = ("it: b hypothesis: c context: d", "premise: e hypothesis: f question: g")


@pytest.mark.parametrize("name", HEADED)
def test_a_head_is_asked_what_holds_the_separators_of_the_text_form(name):
    kind = kind_of(name)
    if kind.shape in BY_WORD:
        assert kind.asked(SEPARATED) == HeadExample(kind.shape, SEPARATED)
        return
    texts = SEPARATED[: len(kind.columns)]
    wanted = tuple(map(spaced, texts)) if kind.shape == "span" else texts
    asked = kind.asked(texts if len(texts) > 1 else texts[0])
    assert asked == HeadExample(kind.shape, texts=wanted)


@pytest.mark.parametrize("name", [*PAIRED, OWN_FILES])
def test_gold_judged_as_gold_scores_1(name, opened):
    kind, found = (
        (kind_of(name), [("a", "b"), ("c", "d")]) if name == OWN_FILES else examples(opened, name)
    )
    predictions, references = kind.judged([(inputs, gold, gold) for inputs, gold in found])
    rules = Judging()
    assert kind.metrics
    for metric in kind.metrics:
        own = rules.settings(metric, name, "eng_Latn") if kind.by_language else {}
        value = score(metric, predictions, references, resamples=0, **own).value
        if metric != "entity_f1" or any(gold for _, gold in found):
            assert value == pytest.approx(METRICS[metric].scale or 1), metric


@pytest.mark.parametrize("name", [*PAIRED, OWN_FILES])
@pytest.mark.parametrize("heads", [False, True])
def test_chance_is_known(name, heads, opened):
    if name == OWN_FILES:
        kind, forms = kind_of(name), [("a", "b")]
    else:
        kind, of = opened(name)
        (stream, *_) = of.values()
        heads = heads and bool(kind.shape)
        forms = list(itertools.islice((stream.for_heads if heads else stream.examples)("train"), 3))
    learner = kind.learner(heads)
    for form in forms:
        learner.add(*form)
    tag = forms[0][0].partition("> ")[0] + "> " if kind.task == "translate" else ""
    answers = [learner.answers(inputs, tag) for inputs, _ in forms]
    if kind.blind:  # it knows no input: where the words are as many it says the same
        assert all(kind.blind in answer for answer in answers)
    else:
        assert all(
            inputs.endswith(a["copy"].text) for (inputs, _), a in zip(forms, answers, strict=True)
        )


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.filled[0]])
def test_a_file_with_its_answers_is_written_as_it_was_byte_for_byte(name):
    kind, (form, text) = kind_of(name), ROWS[name].filled
    assert form in kind.formats
    lines = list(enumerate(text.encode().splitlines(keepends=True), 1))
    _, targets = ROWS[name].form
    (record,) = FORMATS[form]({kind.task: kind}).records(lines, "in")
    answer = kind.read(targets, record.asked[kind.task])
    assert FORMATS[form]({kind.task: kind}).render(record, {kind.task: answer}) == text.encode()


@pytest.mark.parametrize("name", [name for name in PAIRED if ROWS[name].files])
def test_a_table_keeps_its_bytes_and_gets_the_answers(name):
    kind = kind_of(name)
    form = FORMATS["jsonl"]({kind.task: kind})
    raw = json.dumps({names[0]: "a b" for names in kind.columns}).encode() + b"\n"
    (record,) = form.records([(1, raw)], "in")
    out = form.render(record, {kind.task: kind.nothing})
    assert out.startswith(raw.rstrip(b"}\n"))
    asked = record.asked[kind.task]
    assert json.loads(out)[kind.task] == (
        ["O", "O"] if kind.shape == "entities" else kind.cell(kind.nothing, asked)
    )


@pytest.mark.parametrize("name", ["texts", "denoise", "synthetic_text"])
def test_running_text_is_documents(name, opened):
    kind, of = opened(name)
    assert kind.running != kind.denoised
    for stream in of.values():
        documents = list(stream.examples("train"))
        assert documents and all(isinstance(one, bytes) for one in documents)
        json.dumps(stream.identity())


@pytest.mark.parametrize("name", KINDS)
def test_fields_that_a_kind_does_not_take_are_told(name):
    kind = kind_of(name)
    for field_name, value in (("most", 3), ("pivot", "eng_Latn"), ("names", "en_x")):
        if field_name not in kind.takes:
            with pytest.raises(UserError, match=f"TaskConfig.{field_name} is not for the kind"):
                TaskConfig(name, **{field_name: value})
