"""What a stage asks, where it lies, and how two of them differ."""

from pathlib import Path

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments.stage import Cell, asked, differences, filled

FILES = ("models/lab_mlm.gin", "runs/lab_mlm.gin")


def test_places_and_needs() -> None:
    at = Cell("languages=4", 1)
    world = at.stage("world", "synth", lab=True, sentences=100)
    base = at.stage(
        "base", "train", files=FILES, settings={"TEXT": world / "text", "VOCABULARY": "v"}
    )
    tags = at.stage("tags", "answers", shared=True, runs=[base, base], split="test")
    assert [world.path, base.path, tags.path] == [
        "lab/1/world",
        "languages=4/1/base",
        "shared/1/tags",
    ]
    assert base.needs == (world,) and tags.needs == (base,)
    assert asked(base)["config"]["run"]["DataConfig.sources"] == "lab:1:world:text"
    assert asked(tags)["config"] == {
        "runs": ["languages=4:1:base", "languages=4:1:base"],
        "split": "test",
    }
    folders = {base.path: Path("/x/base")}
    assert filled(tags.config, folders) == {"runs": ["/x/base", "/x/base"], "split": "test"}


def test_what_a_need_asks_is_asked_too() -> None:
    def both(sentences: int) -> list[dict]:
        world = Cell(seed=1).stage("world", "synth", lab=True, sentences=sentences)
        return [asked(world), asked(Cell(seed=1).stage("text", "clean", world=world))]

    before, after = both(100), both(200)
    assert differences(before[0], after[0]) == ["sentences 100 -> 200"]
    assert differences(before[1], after[1]) == ["lab/1/world is another"]
    assert differences(before[0], both(100)[0]) == []


def test_differences_of_runs_are_in_words() -> None:
    settings = {"TEXT": "t", "VOCABULARY": "v"}
    one = Cell().stage("base", "train", files=FILES, settings=settings)
    slow = Cell().stage("base", "train", files=FILES, settings={**settings, "LEARNING_RATE": 3e-4})
    said = differences(asked(one), asked(slow))
    assert said == ["ScheduleConfig.learning_rate 0.003 -> 0.0003"]


def test_what_cannot_be_written_down_is_refused() -> None:
    stage = Cell().stage("odd", "train", weight=object())
    with pytest.raises(UserError, match=r"all/0/odd.*numbers, texts"):
        asked(stage)
