"""Traces of some steps: which, what is left behind, and that nothing else changes."""

import io
from types import SimpleNamespace

import jax
import pytest

from jaxlt.engine.log.profiling import Profile, Recorder, Steps, parse_steps
from jaxlt.engine.log.reporter import Reporter
from jaxlt.errors import UserError
from jaxlt.plan import profile as profile_table
from jaxlt.plan.xplane import read_trace
from tests.engine import jobs


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", Steps(None, 5)), ("20:25", Steps(20, 6)), (" 2 : 2 ", Steps(2, 1))],
)
def test_steps_are_read(text, expected):
    assert parse_steps(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "asks for no step"),
        ("-3", "a number of steps, such as 5, or the first and the last step"),
        ("20:", "such as 20:25"),
        ("1:3", r"compiles the others: begin with step 2 or later \(--profile=2:3\)"),
        ("9:4", r"ends before it begins.*--profile=4:9"),
    ],
)
def test_what_names_no_steps_is_refused(text, said):
    with pytest.raises(UserError, match=said):
        parse_steps(text)


def test_a_run_has_to_have_them():
    Steps(None, 4).check(6)
    Steps(3, 4).check(6)
    with pytest.raises(UserError, match=r"--profile=5 .*after 2 to warm up, up to step 7.*has 6"):
        Steps(None, 5).check(6)
    with pytest.raises(UserError, match=r"--profile=4:7 asks for 4 steps, up to step 7.*has 6"):
        Steps(4, 4).check(6)


def test_the_first_step_of_a_start_is_never_among_them():
    assert list(Steps(None, 3).among(range(10))) == [2, 3, 4]
    assert list(Steps(None, 3).among(range(6, 10))) == [8, 9]
    assert list(Steps(3, 4).among(range(10))) == [2, 3, 4, 5]
    assert list(Steps(3, 4).among(range(3, 10))) == [4, 5]
    assert list(Steps(3, 4).among(range(8, 10))) == []
    assert list(Steps(3, 4).among(range(3, 0))) == []  # a run that ended already


def test_a_start_without_any_of_them_says_so():
    say = Reporter(None, 20, stream=(stream := io.StringIO()))
    Recorder(Steps(18, 3), say=say).start(SimpleNamespace(steps=range(20, 20)))
    assert "--profile: of the steps that are left, none is to be traced" in stream.getvalue()


def test_a_trace_that_cannot_be_read_is_told_and_an_error_of_ours_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.profiler.start_trace", lambda *_, **__: None)
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: None)

    def trace_one(lines_of):
        say = Reporter(None, 6, stream=(stream := io.StringIO()))
        recorder = Recorder(Steps(3, 1), tmp_path / "run/profile", lines_of, say)
        assert jax.config.jax_enable_compilation_cache
        recorder.start(SimpleNamespace(steps=range(6), waited_s=0.0))
        assert not jax.config.jax_enable_compilation_cache  # whose programs have no names
        recorder.before(2, ())
        try:
            recorder.after(2, ())
        finally:
            assert jax.config.jax_enable_compilation_cache
        return stream.getvalue()

    folder = tmp_path / "run/profile/plugins/profile/today"
    folder.mkdir(parents=True)
    (folder / "host.xplane.pb").write_bytes(b"no trace at all")
    assert "cannot be read: " in trace_one(profile_table.lines_of)
    with pytest.raises(KeyError, match="ours"):
        trace_one(lambda profile: {}["ours"])


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compile")
def test_a_traced_run_ends_with_the_same_bits(tmp_path):
    found, stream = [], io.StringIO()
    say = Reporter(None, 6, stream=stream)
    words = lambda profile: found.append(profile) or profile_table.lines_of(profile)  # noqa: E731
    recorder = Recorder(parse_steps("3:4"), tmp_path / "run/profile", words, say)
    traced = jobs.run(jobs.small_job(steps=6), tmp_path / "run", recorder=recorder)
    plain = jobs.run(jobs.small_job(steps=6), tmp_path / "plain")
    jobs.assert_identical(jobs.content(traced), jobs.content(plain))
    assert jobs.told(tmp_path / "run") == jobs.told(tmp_path / "plain")

    (profile,) = found
    assert (profile.first, profile.last, profile.steps) == (3, 4, 2)
    assert 0 <= profile.waited <= profile.seconds
    traces = list((tmp_path / "run/profile").rglob("*.trace.json.gz"))
    assert len(traces) == 1 and traces[0].stat().st_size > 1000
    costs = read_trace(profile.trace)
    assert 0 < costs.busy <= costs.window <= profile.seconds and 0 <= costs.idle < 1
    assert costs.seconds == pytest.approx(sum(op.seconds for op in costs.ops))
    own = [op for op in costs.ops if op.program == "jit__train_step"]
    products = [op for op in own if "dot_general" in op.source]
    assert any(op.source.startswith("backward ") for op in products)
    assert any("mlp" in op.source for op in products)
    assert any(op.place.startswith("attention.py:") for op in products)
    assert not any(op.opcode == "while" for op in own)

    lines = stream.getvalue().splitlines()
    assert (
        lines == profile_table.lines_of(profile)
        and lines[0].startswith("profile of steps 3 to 4: ")
        and "idle" in lines[0]
    )
    assert len(lines) == 2 + profile_table.ROWS + 2 and lines[-1].startswith("trace: ")
    shares = [float(line.split("%")[0]) for line in lines[2:-1]]
    assert shares[:-1] == sorted(shares[:-1], reverse=True)
    assert sum(shares) == pytest.approx(100, abs=1)


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_profiler_free(tmp_path):
    class Broken:
        name = "dev"

        def __call__(self, program, params):
            raise UserError("no evaluation today")

    for attempt in ("one", "two"):
        recorder = Recorder(parse_steps("3:6"), tmp_path / attempt / "profile")
        with pytest.raises(UserError, match="today"):
            jobs.run(
                jobs.small_job(steps=6, eval_every=4),
                tmp_path / attempt,
                recorder=recorder,
                evaluators=[Broken()],
            )
        assert list((tmp_path / attempt).rglob("*.xplane.pb"))


def test_a_trace_without_operations_is_said_to_be_one():
    lines = profile_table.lines_of(Profile(3, 3, 0.5, 0.1, "out/profile", None))
    assert lines[0] == "profile of step 3: 500 ms a step; the trace holds no operation of a device"
    assert "out/profile" in lines[1]
