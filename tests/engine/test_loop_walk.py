"""A batch's way through the house: fit -> step -> objective -> model, and few comings back."""

import sys
from pathlib import Path

import pytest

import jaxlt
from tests.engine import jobs

ROOT = str(Path(jaxlt.__file__).parent) + "/"
STEPS = 4


class Walk:
    """Which file of the package runs, one after the other, while it is the profile function."""

    def __init__(self):
        self.stack, self.steps = [], []  # steps: the files of each, from its batch to the next

    def __call__(self, frame, event, _):
        name = frame.f_code.co_filename
        if event not in ("call", "return") or not name.startswith(ROOT):
            return
        file = name.removeprefix(ROOT)
        if event == "return":
            if self.stack:
                self.stack.pop()
            file = self.stack[-1] if self.stack else ""
        else:
            self.stack.append(file)
            if file == "engine/feed.py" and frame.f_code.co_name == "__iter__":
                self.steps.append([])
        if self.steps and (not self.steps[-1] or self.steps[-1][-1] != file):
            self.steps[-1].append(file)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """The files that the batches of a small run come through, and that of the last, the end."""
    walk, path = Walk(), tmp_path_factory.mktemp("walk")
    alone = {
        "mlp_dim": 20,
        "encoder_layers": 1,
        "decoder_layers": 1,
    }  # a program that no other test has, so that its step is traced
    sgd = {"name": "sgd"}
    given = jobs.job(steps=STEPS, every=100, log_every=2, model=alone, optimizer=sgd)
    sys.setprofile(walk)
    try:
        jobs.run(given, path)
    finally:
        sys.setprofile(None)
    return walk.steps[:-1]


def back(files, to):
    """How often the way comes back to one of some files that it has left."""
    seen, count = {files[0]}, 0
    for file in files[1:]:
        count += file in to and file in seen
        seen.add(file)
    return count


def test_a_batch_goes_straight_to_the_model(steps):
    """Traced, as the first step is: before the network's own file, loop, step and objective ask
    others (the banks' optimizer, the loss's weights) ten times."""
    way = ["engine/fit.py", "engine/step.py", "engine/objective.py", "models/t5.py"]
    files = steps[0][steps[0].index(way[0]) :]
    files = files[: files.index(way[-1]) + 1]
    assert sorted(way, key=files.index) == way
    print(f"rooms {len(set(files))}, comings back {back(files, way)}: {' '.join(files)}")
    assert back(files, way) <= 10


def test_the_loop_asks_few_objects_for_what_stands_around_a_step(steps):
    """Feed, pace, step, journal, and what keeps states and hears signals."""
    returns = [back(["engine/fit.py", *files], {"engine/fit.py"}) for files in steps]
    print(f"comings back to the loop, by step: {returns}")
    assert returns == [5, 5, 5, 5]
