"""What is shown and recorded while a run goes on."""

import importlib.util
import io
import json

import jax
import pytest

from jaxlt.engine.log import reporter as engine_logging
from jaxlt.engine.log.metrics_file import MetricsFile, read_metrics
from jaxlt.engine.log.reporter import Reporter, peak_flops
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.engine import jobs


class Clock:
    """Time that passes when told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(engine_logging.time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5e", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("TPU v6e", 918e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("cpu", None),
    ],
)
def test_peaks_by_device_kind(kind, peak):
    assert peak_flops(kind) == peak


def test_plain_lines_and_rates_without_the_first_step(tmp_path, monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(engine_logging, "peak_flops", lambda kind: 275e12)
    devices = jax.device_count()
    with Reporter(tmp_path, 100, stream=stream, tensorboard=False) as report:
        report.start(0, model_flops=13.75e12 * devices, tokens_per_step=1000)
        clock.now += 60.0  # compiling
        report.tick(1)
        for step in range(2, 11):
            clock.now += 0.5
            report.tick(step)
        with report.paused():
            clock.now += 1000.0  # an evaluation
        seen = report.log(10, {"loss": 2.5, "accuracy": 0.25})
        assert seen["steps_per_second"] == pytest.approx(2.0)
        assert seen["tokens_per_second"] == pytest.approx(2000.0)
        assert seen["mfu"] == pytest.approx(0.1)  # of all that there are, where none are named
        assert seen["seconds_left"] == pytest.approx(45.0)
        report.evaluation(10, {"dev/loss": 2.25})
        clock.now += 2.0
        assert report.log(20, {"loss": 2.0})["steps_per_second"] == pytest.approx(5.0)
        report.note("saved [bold]")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "step 10/100  loss 2.5  accuracy 0.25  2,000 tokens/s  MFU 10.0%  45s left",
        "step 10/100 evaluated  dev/loss 2.25",
        "step 20/100  loss 2  5,000 tokens/s  MFU 25.0%  16s left",
        "saved [bold]",
    ]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [10, 10, 20] and rows[0]["loss"] == 2.5
    assert rows[1]["dev/loss"] == 2.25
    assert set(rows[0]) >= {"time", "tokens_per_second", "mfu"}


def test_no_rates_before_there_is_anything_to_measure(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    with Reporter(None, 10, stream=stream) as report:
        report.start(0)
        clock.now += 60.0
        report.tick(1)
        assert report.log(1, {"loss": 1.0}) == {"loss": 1.0}
        clock.now += 1.0
        report.log(2, {"loss": 1.0})
    assert stream.getvalue().splitlines()[-1] == "step 2/10  loss 1  1.00 steps/s  8s left"


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    clock, stream = Clock(monkeypatch), Terminal()
    with Reporter(None, 50, stream=stream) as report:
        report.note("before it")
        report.start(10, tokens_per_step=64)
        report.tick(11)
        clock.now += 1.0
        report.log(20, {"loss": 3.25})
        report.note("a line above it")
    text = stream.getvalue()
    assert "20/50" in text and "loss 3.25" in text and "tokens/s" in text and "left" in text
    assert "a line above it" in text


def test_resuming_repeats_no_step_and_forgives_a_line_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, 0)
    for step in (10, 20, 30):
        file.write(step, {"loss": float(step)})
    assert [r["step"] for r in read_metrics(path)] == [10, 20, 30]  # there before it is closed
    file.close()
    with path.open("ab") as cut:
        cut.write(b'{"step": 40, "lo')
    with Reporter(tmp_path, 100, stream=io.StringIO(), tensorboard=False) as report:
        report.start(20)
        report.evaluation(30, {"loss": float("nan"), "other": float("inf")})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["step"] for r in rows] == [10, 20, 30]
    assert rows[-1]["loss"] is None and rows[-1]["other"] is None
    MetricsFile(path, 0).close()
    assert path.read_text() == ""


def test_a_new_run_after_a_cut_line_starts_on_a_line_of_its_own(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 10, "loss": 1.0}\n{"step": 20, \xff')
    file = MetricsFile(path, 10)
    file.write(20, {"loss": 0.5})
    file.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(path)] == [(10, 1.0), (20, 0.5)]


def test_tensorboard_if_installed(tmp_path):
    pytest.importorskip("tensorboardX")
    with Reporter(tmp_path, 10, stream=io.StringIO()) as report:
        report.start(0)
        report.evaluation(1, {"loss": 1.0})
    files = list((tmp_path / "tensorboard").iterdir())
    assert len(files) == 1 and b"loss" in files[0].read_bytes()


def test_a_note_where_tensorboard_is_not_installed(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboardX" else find(name)
    )
    stream = io.StringIO()
    with Reporter(tmp_path, 10, stream=stream) as report:
        report.start(0)
        report.evaluation(1, {"loss": 1.0})
    assert stream.getvalue().count("tensorboardX is not installed") == 1


def test_only_the_primary_process_speaks(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_logging.distributed, "is_primary", lambda: False)
    stream = io.StringIO()
    with Reporter(tmp_path, 10, stream=stream) as report:
        report.start(0)
        report.tick(1)
        report.log(1, {"loss": 1.0})
        report.note("hello")
    assert stream.getvalue() == "" and list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_of(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    file._file.close()
    file._file = open("/dev/full", "a", buffering=1)  # noqa: SIM115 - `close` has to meet it
    with pytest.raises(UserError, match=r"metrics.jsonl' cannot be written: No space left"):
        file.write(1, {"loss": 1.0})
    file.close()  # and what could not be written does not hide that error


BANKS = {"plugs": (plug(Bottleneck, "lang", key="source", routes=3),)}


@pytest.mark.slow
def test_a_run_is_measured_against_the_devices_of_its_mesh(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_logging, "peak_flops", lambda kind: 275e12)
    report = Reporter(None, 6, stream=io.StringIO(), tensorboard=False)
    given = jobs.small_job(model=BANKS, trainable=("modules/.*",), route_rates=(("zz", 2.0),))
    with pytest.raises(UserError, match="zz"):  # after the reporter has begun, before a compilation
        jobs.run(given, tmp_path / "run", devices=2, reporter=report)
    assert report._peak == 2 * 275e12 < jax.device_count() * 275e12
