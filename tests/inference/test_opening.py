"""Heads and tasks of a run that do not go together, and the names that a run keeps."""

import dataclasses

import pytest

from jaxlt import config
from jaxlt.config import derived
from jaxlt.config.heads import check_heads
from jaxlt.data import inventory
from jaxlt.errors import UserError
from jaxlt.inference import opening
from jaxlt.inference.asking import kinds_for
from jaxlt.inference.filling import tasks_of
from tests.data.head_files import write_treebanks

RUNNING = (
    "DataConfig.objective='mlm'",
    "DataConfig.tasks=[]",
    "DataConfig.sources='x'",
    "DataConfig.length_buckets=0",
)
HEADS = ("models/mlm_tiny.gin", "runs/heads.gin")


@pytest.fixture(scope="module")
def treebanks(tmp_path_factory):
    return write_treebanks(tmp_path_factory.mktemp("made") / "ud")


def run_of(*more, files=("heads/tagging.gin",), model=HEADS[:1], text="texts", workdir="w"):
    given = [f"TEXT='{text}'", f"WORKDIR='{workdir}'", *more]
    return config.load([*model, *HEADS[1:], *files], given)


def test_running_text_is_asked_what_heads_answer():
    def tasks(run):
        return tasks_of(run, "text", kinds_for(run.data))

    assert tasks(run_of()) == ("tag",)
    assert tasks(run_of(files=("heads/entities.gin",))) == ("entities",)
    assert tasks(run_of(files=("heads/topics.gin",))) == ("classify",)
    with pytest.raises(UserError, match="some of classify, translate, generate, tag, parse, entit"):
        tasks(run_of(files=("heads/pairs.gin",)))
    for kind, task in (("tagging", "tag"), ("topics", "classify"), ("pairs", "generate")):
        given = ["TEXT='texts'", "WORKDIR='w'", "INIT_FROM=None", f"KIND='{kind}'"]
        files = ["models/tiny.gin", "runs/finetune.gin", "data/tasks.gin"]
        assert tasks(config.load(files, given)) == (task,)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["TaggerConfig.name='pos'"], "T5Config.heads are pos, and DataConfig.tasks tagging"),
        (["TaskConfig.name='taging'"], "tasks taging .*Did you mean 'taging'"),
        (["T5Config.heads=[]"], "T5Config.heads are none, and DataConfig.tasks tagging"),
        (
            ["TaskConfig.kind='parsing'"],
            r"'tagging' \(parsing\) takes a ParserConfig, and T5Config.heads gives it a TaggerCo",
        ),
        (
            [
                "TaskConfig.kind='pairs'",
                "T5Config.heads=@ClassifierConfig()",
                "ClassifierConfig.name='tagging'",
                "ClassifierConfig.labels=2",
            ],
            "takes a ClassifierConfig with pair = True, and .* a ClassifierConfig with pair = Fal",
        ),
        (["DataConfig.reads='words'"], "A T5Config reads tokens: set DataConfig.reads = 'tokens'"),
        (
            list(RUNNING),
            "T5Config.heads label text, and DataConfig.objective is 'mlm'",
        ),
    ],
)
def test_heads_that_are_not_those_of_the_tasks(more, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace(r"\.*", ".*")):
        opening.inventory_of(run_of(*more), anew=True)


TWO = (
    "T5Config.heads=[@TaggerConfig(), @ParserConfig()]",
    "ParserConfig.name='parsing'",
    "ParserConfig.labels=8",
    "pos/TaskConfig.kind='tagging'",
    "trees/TaskConfig.kind='parsing'",
    "trees/TaskConfig.name='parsing'",
)


def test_two_heads_are_in_the_order_of_their_tasks(treebanks):
    ordered = "DataConfig.tasks=[@pos/TaskConfig(), @trees/TaskConfig()]"
    run = run_of(*TWO, ordered, text=treebanks)
    found = opening.inventory_of(run, anew=True)
    assert set(found.labels) == {"tagging", "parsing"}
    other = "DataConfig.tasks=[@trees/TaskConfig(), @pos/TaskConfig()]"
    with pytest.raises(UserError, match=r"one order: give T5Config\.heads as parsing, tagging"):
        check_heads(run_of(*TWO, other))


def test_a_bilstm_reads_words_and_only_labels(treebanks, tmp_path):
    bilstm = ("models/bilstm.gin",)
    run = run_of("DataConfig.reads='tokens'", model=bilstm)
    with pytest.raises(UserError, match=r"A BiLSTMConfig reads words: set DataConfig\.reads"):
        check_heads(run)
    with pytest.raises(UserError, match=r"BiLSTMConfig\.heads is empty"):
        check_heads(
            run_of(*RUNNING, "BiLSTMConfig.heads=[]", "DataConfig.reads='tokens'", model=bilstm)
        )
    found = opening.inventory_of(
        run_of("WORD_ROWS=6", model=bilstm, text=treebanks, workdir=tmp_path), anew=True
    )
    assert len(found.words) == 4 and 5 < len(found.chars) < 1000  # two rows are taken


def test_there_is_room_for_all_labels(treebanks):
    with pytest.raises(UserError, match="'tagging' has 2 labels, and the head room for 1"):
        opening.inventory_of(run_of("LABELS=1", text=treebanks), anew=True)


def test_the_names_of_the_first_start_are_kept(treebanks, tmp_path):
    run = run_of(text=treebanks, workdir=tmp_path)
    with pytest.raises(UserError, match=r"inventory\.json'.*is not there: `jaxlt train` writes it"):
        opening.inventory_of(run)
    found = opening.inventory_of(run, anew=True)
    opening.keep_inventory(run, found)
    other = inventory.Inventory({"tagging": ("VERB", "NOUN", "X")})
    other.write(tmp_path / inventory.NAME)
    opening.keep_inventory(run, found)  # a later start changes nothing
    assert opening.inventory_of(run, anew=True) == opening.inventory_of(run) == other


@pytest.mark.parametrize("size", ["mt5_small", "byt5_small", "umt5_small", "tiny"])
def test_of_any_model_the_encoder_alone_is_taken(size):
    bytes_ = () if size in ("byt5_small", "tiny") else ("VOCABULARY='bytes'",)
    run = run_of(*bytes_, model=(f"models/{size}.gin",))
    assert run.model.decoder_layers == 0 and run.model.heads and run.data.targets_length is None
    fields = derived.fields(run)
    assert {"word_first", "word_labels", "head"} <= set(fields)
    with pytest.raises(UserError, match=r"decoder_layers is 3: set T5Config\.decoder_layers = 0"):
        dataclasses.replace(run.model, decoder_layers=3)
