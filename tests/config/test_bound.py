"""What gin files and settings say in the end."""

import dataclasses
from typing import Any

import pytest

from jaxlt.config.bound import bound
from jaxlt.config.build import load_object, table
from jaxlt.identity import field_identity, mark_of

FILES = ["models/lab_mlm.gin", "runs/lab_mlm.gin"]
SAID = {"TEXT": "texts", "VOCABULARY": "x/y.model", "WORKDIR": "runs/a", "SEED": 3}


def test_macros_are_resolved_and_the_harmless_left_out() -> None:
    found = bound(FILES, SAID)
    assert found["TrainConfig.seed"] == found["DataConfig.seed"] == 3
    assert found["DataConfig.vocabulary"] == "y.model"  # of a path the last part
    assert found["TrainConfig.eval_every"] == 600  # a macro within a macro
    assert "run.workdir" not in found and "SEED" not in found
    assert bound(FILES, {**SAID, "WORKDIR": "elsewhere/b"}) == found
    assert bound(FILES, {**SAID, "TrainConfig.log_every": 7}) == found


def test_a_setting_at_its_first_default_is_as_if_not_said() -> None:
    assert bound(FILES, {**SAID, "OptimizerConfig.b1": 0.9}) == bound(FILES, SAID)
    changed = bound(FILES, {**SAID, "OptimizerConfig.b1": 0.8})
    assert changed == {**bound(FILES, SAID), "OptimizerConfig.b1": 0.8}


@pytest.mark.parametrize("name", ["TrainConfig", "OptimizerConfig", "DataConfig", "LossConfig"])
def test_every_field_counts_unless_it_is_marked(name: str) -> None:
    kind = load_object(table()[name])
    for field in dataclasses.fields(kind):
        other: Any = "another" if not isinstance(field.default, bool) else not field.default
        found = bound((), {f"{name}.{field.name}": other})
        counts = mark_of(field) != "harmless"
        assert bool(found) == counts == field_identity(field, other)[0], field.name
