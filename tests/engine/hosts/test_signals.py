"""SIGTERM: the step in hand is finished and saved; afterwards the signal means what it meant."""

import os
import signal
import threading

import pytest

from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.hosts.signals import Preemption
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.engine import jobs


@pytest.fixture
def heard():
    """What a handler of the caller's own has heard; it is put back afterwards."""
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGTERM, before)


def test_it_listens_until_it_is_released(heard):
    preemption = Preemption()
    assert not preemption.asked(1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.asked(2) and preemption.asked(3) and heard == []
    preemption.release()
    preemption.release()
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_outside_the_main_thread_nothing_is_taken_over(heard):
    made: list[Preemption] = []
    thread = threading.Thread(target=lambda: made.append(Preemption()))
    thread.start()
    thread.join()
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM] and not made[0].asked(1)
    made[0].release()


class Terminating:
    """An evaluator during which the machine is taken away."""

    name = "dev"

    def __call__(self, program, params):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 1.0}


def test_a_run_that_is_asked_to_go_saves_and_goes_on_later(tmp_path, heard):
    given = jobs.small_job(steps=6, every=100, eval_every=2)
    result = jobs.run(given, tmp_path / "parts", evaluators=[Terminating()])
    assert result.ended == "preempted" and result.position.step == 2
    assert Checkpoints(tmp_path / "parts").steps() == [2] and heard == []
    for step in (4, 6):
        result = jobs.run(given, tmp_path / "parts", evaluators=[Terminating()])
        assert result.position.step == step
    whole = jobs.run(jobs.small_job(steps=6, every=100), tmp_path / "whole")
    jobs.assert_identical(jobs.content(result), jobs.content(whole))
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


class Gone:
    """A backbone whose files cannot be read."""

    @property
    def origin(self):
        return {"path": "gone", "format": "arrays"}

    @property
    def shapes(self):
        raise UserError("gone is not there")


BANKS = {"plugs": (plug(Bottleneck, "lang", key="source", routes=3),)}


@pytest.mark.parametrize(
    ("train", "base"),
    [
        ({}, Gone()),
        ({"cycle": ("zz",)}, None),
        ({"trainable": ("modules/.*",), "route_rates": (("zz", 2.0),)}, None),
    ],
    ids=["start", "feed", "pace"],
)
def test_what_fails_before_the_first_step_leaves_no_handler_and_no_thread(
    tmp_path, heard, train, base
):
    with pytest.raises(UserError, match=r"zz|gone"):
        jobs.run(jobs.small_job(model=BANKS, **train), tmp_path, base=base)
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    assert not [t for t in threading.enumerate() if t.name == "jaxlt-feed"]
