"""A training that a worker leaves and another goes on with ends with the same weights and rows."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from jaxlt.errors import SAVED
from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.stage import Cell
from jaxlt.experiments.states import Survey, rows
from jaxlt.metrics import result_file
from tests.experiments.jobs import places
from tests.experiments.test_worker import quietly

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]


def test_a_training_that_is_left_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    lab = Laboratory(
        families=1, sentences=200, annotated=9, labelled=3, pieces=0, width=16, mlp=16, layers=1
    )
    every = {"CheckpointConfig.every": 20, "T5Config.num_heads": 2, "T5Config.head_dim": 8}
    base = lab.backbone(Cell(), lab.pretrained(1), steps=120, settings=every)
    stages = [*base.needs, base]
    found = {}
    for name in ("quiet", "left"):
        folder = tmp_path / name
        quietly(stages[:1], folder)
        first = places(folder).folder(base) / "attempts" / "000001"
        if name == "left":

            def ask(saved: Path = first / "checkpoints" / "20" / "jaxlt.json") -> None:
                while not saved.exists():
                    time.sleep(0.002)
                os.kill(os.getpid(), signal.SIGTERM)

            asking = threading.Thread(target=ask)
            asking.start()
            with pytest.raises(SystemExit) as left:
                quietly(stages, folder)
            asking.join()
            assert left.value.code == SAVED and not (first / "digest.txt").exists()
        quietly(stages, folder)
        found[name] = Survey(stages, places(folder))
        assert found[name].status == 0
    records = {name: survey.states[base.path].record for name, survey in found.items()}
    assert [record["attempt"] for record in records.values()] == [1, 2]
    assert records["quiet"]["digest"] == records["left"]["digest"]
    one, other = ([result_file.to_json(row) for row in rows(f)] for f in found.values())
    assert one == other != []
    log = (places(tmp_path / "left").folder(base) / "attempts/000002/log.txt").read_text()
    assert "Resumed from step" in log
