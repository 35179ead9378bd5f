"""The hash of a configuration: every field counts, or is marked at the field."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from jaxlt import identity
from jaxlt.config import RunConfig, load
from jaxlt.config.build import TABLE, load_object
from jaxlt.identity import HARMLESS, PLACED, config_hash, introduced, mark_of
from jaxlt.modules.config import Delta, Plug

RUN = load(["models/tiny.gin", "runs/pretrain.gin"], ["WORKDIR=w", "TEXT=t", "BATCH_SIZE=4"])
NOT_OF_A_RUN = {"run", "plug", "delta", "DecodingConfig"}
CONFIGS = [
    RunConfig,
    Plug,
    Delta,
    *(load_object(path) for name, path in TABLE.items() if name not in NOT_OF_A_RUN),
]


def bare(kind: type) -> Any:
    """An instance that no __post_init__ has judged: fields at their defaults, or simple values."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        value = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        object.__setattr__(made, field.name, "given" if value is dataclasses.MISSING else value)
    return made


def with_value(config: Any, name: str, value: Any) -> Any:
    other = bare(type(config))
    object.__setattr__(other, name, value)
    return other


def another(value: Any) -> Any:
    """A value unlike the given one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, tuple):
        return (*value, "another")
    return "another" if value is None or dataclasses.is_dataclass(value) else f"{value}-another"


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_field_counts_or_is_marked(kind):
    config = bare(kind)
    for field in dataclasses.fields(kind):
        changed = with_value(config, field.name, another(getattr(config, field.name)))
        counts = config_hash(changed) != config_hash(config)
        assert counts == (mark_of(field) not in ("harmless", "drawn")), field.name


def test_the_marks_are_these():
    """What is added here is looked at twice: a wrong mark makes unlike runs one."""
    marked = {
        f"{kind.__name__}.{field.name}": mark_of(field)
        for kind in CONFIGS
        for field in dataclasses.fields(kind)
        if mark_of(field)
    }
    assert {name for name, mark in marked.items() if mark == "drawn"} == {
        *("TrainConfig.seed", "DataConfig.seed", "DataConfig.amounts_seed", "FactoryConfig.seed"),
    }
    assert {name for name, mark in marked.items() if mark == "harmless"} == {
        *("RunConfig.workdir", "RunConfig.mesh", "RunConfig.library", "RunConfig.force_modules"),
        *("TrainConfig.log_every", "TrainConfig.rows_per_device", "TrainConfig.compiler"),
        *("CheckpointConfig.every", "CheckpointConfig.keep", "CheckpointConfig.keep_best"),
        *("T5Config.scan_layers", "T5Config.remat", "T5Config.attention", "Plug.routing"),
        *("Delta.counts", "Delta.start", "Delta.start_parts"),
        *("DataConfig.cache_dir", "LossConfig.chunk_bytes"),
    }
    assert {name for name, mark in marked.items() if mark == "placed"} == {
        *("RunConfig.init_from", "DataConfig.sources", "DataConfig.vocabulary", "Delta.file"),
        *("TaskConfig.sources", "TaskConfig.templates", "TaskConfig.ids"),
        *("TextConfig.dictionary", "TextConfig.transliterate"),
    }


def test_what_is_within_counts_too():
    def of(part: str, **changes: Any) -> str:
        changed = dataclasses.replace(getattr(RUN, part), **changes)
        return config_hash(dataclasses.replace(RUN, **{part: changed}))

    same = config_hash(RUN)
    assert of("train", seed=7) == of("train", log_every=3) == same
    assert of("data", seed=7, cache_dir="elsewhere") == of("mesh", fsdp=2) == same
    assert of("schedule", learning_rate=0.5) != same and of("model", dropout=0.5) != same
    assert config_hash(dataclasses.replace(RUN, eval_data=None)) != same


def test_of_a_path_the_last_part_counts():
    def run(**changes: Any) -> str:
        data = dataclasses.replace(RUN.data, sources=changes.pop("sources", RUN.data.sources))
        return config_hash(dataclasses.replace(RUN, data=data, **changes))

    assert run(sources=("/a/swh.txt",)) == run(sources=("b/c/swh.txt",))
    assert run(sources=("swh.txt",)) != run(sources=("deu.txt",))
    assert run(init_from="gs://x/byt5/") == run(init_from="byt5") != run(init_from="mt5")
    assert run(init_from="a/one/checkpoints/4") != run(init_from="a/two/checkpoints/4")
    for within in ("", "/checkpoints/4"):  # of whichever attempt at a stage
        first = run(init_from=f"a/one/attempts/000001{within}")
        assert first == run(init_from=f"b/one/attempts/000012{within}")
        assert first != run(init_from=f"a/two/attempts/000001{within}")


@dataclasses.dataclass(frozen=True)
class First:
    rate: float = 1.0
    folder: str = dataclasses.field(default="", metadata=PLACED)


@dataclasses.dataclass(frozen=True)
class Later(First):
    """The same config after a setting was added, and a default changed."""

    rate: float = dataclasses.field(default=2.0, metadata=introduced(1.0))
    added: bool = False
    loud: bool = dataclasses.field(default=True, metadata=HARMLESS)


Later.__name__ = "First"


def test_a_setting_that_is_added_changes_no_hash_of_before():
    assert config_hash(Later(rate=1.0)) == config_hash(First())
    assert config_hash(Later(rate=3.0)) == config_hash(First(rate=3.0))
    assert config_hash(Later()) == config_hash(First(rate=2))  # 2 is 2.0
    assert config_hash(Later(rate=1.0, added=True)) != config_hash(First())


def test_what_json_cannot_say_is_an_error():
    assert identity.identity({"a": (Path("b"), None, RunConfig)}) == {
        "a": ["b", None, "config:RunConfig"]
    }
    with pytest.raises(TypeError, match=r"set .* is nothing that identifies a run"):
        config_hash(First(rate={1, 2}))
