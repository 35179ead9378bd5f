"""What was renamed goes on being read by its old name: files, flags, recorded configs, hashes."""

import dataclasses
import logging

import pytest

from jaxlt import config, identity
from jaxlt.commands.main import main
from jaxlt.config import recorded, renamed
from jaxlt.config.build import METHODS, load_object
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.errors import UserError

FILES = ["models/mlm_tiny.gin", "runs/heads.gin", "heads/tagging.gin"]
GIVEN = ["CORPORA=texts", "WORKDIR=w"]
OLD = {"length_buckets": "like_lengths", "overlength": "long", "on_malformed": "bad"}


@pytest.fixture
def told(caplog):
    """The lines that were said."""
    renamed.tell.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_old_names_of_fields_are_read_from_files_and_flags(tmp_path, told):
    (tmp_path / "mine.gin").write_text("DataConfig:\n    long = 'leave_out'\n    bad = 'skip'\n")
    mine = str(tmp_path / "mine.gin")
    run = config.load([*FILES, mine], [*GIVEN, "eval/DataConfig.like_lengths=5"])
    assert (run.data.overlength, run.data.on_malformed) == ("leave_out", "skip")
    assert (run.data.length_buckets, run.eval_data.length_buckets) == (20, 5)
    first, second, third = told()
    assert first.startswith(f"{mine}, line 2: DataConfig.long is called DataConfig.overlength now")
    assert "line 3: DataConfig.bad is called DataConfig.on_malformed" in second
    assert third.startswith("--gin.eval/DataConfig.like_lengths=5 on the command line: ")
    with pytest.raises(UserError, match="DataConfig has no 'lnog'"):
        config.load(FILES, [*GIVEN, "DataConfig.lnog=1"])


def test_a_new_name_behind_an_old_one_wins(told):
    run = config.load(FILES, [*GIVEN, "DataConfig.like_lengths=3", "DataConfig.length_buckets=4"])
    assert run.data.length_buckets == 4


def as_before(text):
    """A config as it was written before the renames."""
    for new, old in OLD.items():
        text = text.replace(f"DataConfig.{new} =", f"DataConfig.{old} =")
    return text


def test_a_recorded_config_compares_equal_and_opens(tmp_path, told):
    run = config.load(FILES, ["CORPORA=texts", f"WORKDIR={tmp_path}"])
    now = config.operative_config(run)
    before = as_before(now)
    assert before.count("DataConfig.like_lengths") == 2
    (tmp_path / "config.gin").write_text(before)
    assert config.load([str(tmp_path / "config.gin")]) == run
    with Workdir.open(tmp_path, now, "new", younger=recorded.younger, renamed=renamed.text) as dir_:
        assert dir_.changed == {}
    assert (tmp_path / "config.gin").read_text() == now


def test_hashes_are_of_the_first_names():
    run = config.load(FILES, [*GIVEN, "DataConfig.bad=skip"])
    data = identity.identity(run)["data"]
    assert (data["long"], data["like_lengths"], data["bad"]) == ("window", 20, "skip")
    assert not OLD.keys() & data.keys()
    text = renamed.text(config.text.render(run), first=True)
    assert "\nDataConfig.like_lengths = 20\n" in text and "length_buckets" not in text
    assert renamed.text(text) == config.text.render(run)


def test_names_may_have_their_scope_and_module():
    for before in ("DataConfig", "a/b/DataConfig", "jaxlt.data.config.DataConfig"):
        assert renamed.text(f"{before}.long = 'window'\n") == f"{before}.overlength = 'window'\n"
        assert renamed.binding(f"{before}.long") == f"{before}.overlength"
    assert (
        renamed.text("TextConfig.long = %long\nlong = 1\n") == "TextConfig.long = %long\nlong = 1\n"
    )


def test_heads_are_read_by_old_names_too(monkeypatch, told):
    from jaxlt.models.tagger import TaggerConfig

    field = TaggerConfig.__dataclass_fields__["name"]
    monkeypatch.setattr(field, "metadata", identity.renamed("task"))
    renamed._renamed.cache_clear()
    assert renamed.binding("pos/TaggerConfig.task") == "pos/TaggerConfig.name"
    assert renamed.binding("TaggerConfig.name", first=True) == "TaggerConfig.task"
    run = config.load([*FILES, "models/mlm_tiny.gin"], [*GIVEN, "TaggerConfig.task='tagging'"])
    assert run.model.heads[0].name == "tagging" and "TaggerConfig.name" in told()[0]
    renamed._renamed.cache_clear()


def test_no_setting_of_a_method_was_another_once():
    """Its class brings jax: a mark at its field would be read after what is wrong was said."""
    for path in METHODS.values():
        for field in dataclasses.fields(load_object(path)):
            assert identity.first_name(field) == field.name


def test_a_macro_may_have_another_name(tmp_path, monkeypatch, told):
    monkeypatch.setattr(renamed, "MACROS", {"STEPS": ("EPOCHS_AT_MOST", "TRAIN_STEPS")})
    files, given = ["models/tiny.gin", "runs/pretrain.gin"], ["TEXT=texts", "WORKDIR=w"]
    assert config.load(files, [*given, "STEPS=7"]).train.steps == 7
    (line,) = told()
    assert line == (
        "--gin.STEPS=7 on the command line: STEPS is called TRAIN_STEPS here; the old name is "
        "still read."
    )
    (tmp_path / "mine.gin").write_text("STEPS = 9\nTrainConfig.steps = %STEPS\n")
    assert config.load([*files, str(tmp_path / "mine.gin")], given).train.steps == 9
    assert len(told()) == 1  # it is a name of their own


def test_text_may_name_what_is_no_text(told):
    run = config.load(FILES, ["TEXT=texts", "WORKDIR=w"])
    assert run.data.tasks[0].sources == ("texts",)
    files = ["models/tiny.gin", "runs/finetune.gin"]
    run = config.load(files, ["TEXT=texts", "WORKDIR=w", "INIT_FROM=x"])
    assert run.data.sources == ("texts",)
    assert [line.partition("called ")[2][:12] for line in told()] == [
        "CORPORA here",
        "PAIRS here; ",
    ]
    assert "TEXT = " not in config.operative_config(run).replace("PAIRS", "")


def test_text_reaches_what_uses_it_and_all_that_wait_for_it(tmp_path, told):
    mine, files = tmp_path / "mine.gin", ["models/tiny.gin", "runs/finetune.gin"]
    given = ["TEXT=a", "WORKDIR=w", "INIT_FROM=x"]
    both = "run.eval_data = @eval/DataConfig()\neval/DataConfig.sources = %"
    mine.write_text(f"{both}TEXT\n")
    run = config.load([*files, str(mine)], given)
    assert run.data.sources == run.eval_data.sources == ("a",)
    mine.write_text(f"{both}CORPORA\nCORPORA = %gin.REQUIRED\n")
    run = config.load([*files, str(mine)], given)
    assert run.data.sources == run.eval_data.sources == ("a",)
    run = config.load([*files, str(mine)], [*given, "CORPORA=b"])  # what has a value keeps it
    assert (run.data.sources, run.eval_data.sources) == (("a",), ("b",))
    mine.write_text("TEXT = %gin.REQUIRED\n")
    with pytest.raises(UserError, match="PAIRS"):
        config.load([*files, str(mine)], given[1:])


def test_flags_may_be_said_as_before(capsys):
    assert main(["data", "stats", "no/such/file.txt", "--bad=skipp"]) == 2
    error = capsys.readouterr().err
    assert "jaxlt: --bad is called --on_malformed now.\n" in error
