"""sweep.sh: a file of runs over slices."""

import signal

import pytest

from .conftest import Cloud

pytestmark = pytest.mark.slow  # each call of a script is a dozen processes


def runs(cloud: Cloud, steps: dict[str, int]) -> str:
    """A file of runs, each with a workdir of its own; returns the flag for it."""
    lines = ["# three runs", ""]
    for name, count in steps.items():
        (cloud.folder / name).mkdir(exist_ok=True)
        lines.append(f"  {name}   jaxlt train '{cloud.folder / name}' {count}")
    path = cloud.folder / "runs.txt"
    path.write_text("\n".join(lines) + "\n")
    return f"--runs={path}"


def counted(cloud: Cloud, name: str) -> int:
    path = cloud.folder / name / "step"
    return int(path.read_text()) if path.exists() else 0


def test_three_runs_over_two_slices(cloud: Cloud) -> None:
    flag = runs(cloud, {"short": 3, "long": 60, "last": 3})
    (cloud.folder / "last" / "preempt").write_text("2")
    said = cloud.run("sweep.sh", "--yes", "--slices=2", flag, NAME="sweep")
    assert [counted(cloud, name) for name in ("short", "long", "last")] == [3, 60, 3]
    for name in ("short", "long", "last"):
        assert f"{name}: done" in said
    assert "sweep-0 sweep-1" not in said and cloud.state["resources"] == {}
    started = cloud.calls("host.sh start")
    assert {call.split()[2] for call in started} == {"sweep-0", "sweep-1"}
    slice_of = {call.split("start ")[1].split()[0]: call.split()[2] for call in started}
    assert slice_of["short"] == slice_of["last"] != slice_of["long"]  # next when one is free
    made = cloud.calls("resources create")
    assert len(made) == 3  # two, and one anew
    again = cloud.run("sweep.sh", "--yes", "--slices=2", flag, NAME="sweep")
    assert cloud.calls("resources create") == made and "done" in again  # nothing is left


def test_workers_of_a_study_are_one_command_on_all_slices(cloud: Cloud) -> None:
    command = ("--", "jaxlt", "experiment", "it's.gin", "--worker")
    said = cloud.run("sweep.sh", "--dry-run", "--slices=2", *command, NAME="sweep")
    created = [line.split()[5] for line in said.splitlines() if "resources create" in line]
    assert created == ["sweep-0", "sweep-1"] and said.count("experiment") == 2


def test_one_that_fails_does_not_stop_the_others(cloud: Cloud) -> None:
    flag = runs(cloud, {"good": 2})
    path = cloud.folder / "runs.txt"
    path.write_text("bad jaxlt trian\n" + path.read_text())
    said = cloud.run("sweep.sh", "--yes", "--keep", flag, NAME="sweep", status=11)
    assert "bad: failed with status 2" in said and "good: done" in said
    assert "sweep-0" in cloud.state["resources"]


def test_a_sweep_that_is_interrupted_goes_on_where_it_was(cloud: Cloud) -> None:
    flag = runs(cloud, {"one": 10_000, "two": 10_000})
    sweep = cloud.start("sweep.sh", "--yes", "--slices=2", flag, NAME="sweep")
    cloud.until(lambda: counted(cloud, "one") > 1 and counted(cloud, "two") > 1)
    sweep.send_signal(signal.SIGTERM)
    said, _ = sweep.communicate(timeout=20)
    assert sweep.returncode == 130 and "the same command takes up the sweep again" in said
    before = len(cloud.calls("host.sh start"))
    again = cloud.start("sweep.sh", "--yes", "--slices=2", flag, NAME="sweep")
    for slice_, run in (("sweep-0", "one"), ("sweep-1", "two")):
        where = (cloud.folder / f"logs/sweep.sweep/{run}.taken/by").read_text().strip()
        cloud.run("stop.sh", "--yes", f"--run={run}", NAME=where or slice_)
    said, _ = again.communicate(timeout=20)
    assert again.returncode == 11 and "2 failed" in said
    assert len(cloud.calls("host.sh start")) == before  # each was found running


def test_slices_that_cannot_be_had(cloud: Cloud) -> None:
    flag = runs(cloud, {"one": 2, "two": 2})
    cloud.fail("create sweep-1", "RESOURCE_EXHAUSTED: Quota limit exceeded", times=100)
    said = cloud.run("sweep.sh", "--yes", "--slices=2", flag, NAME="sweep")
    assert "sweep-1 cannot be had" in said and "one: done" in said and "two: done" in said


def test_files_of_runs_that_make_no_sense(cloud: Cloud) -> None:
    path = cloud.folder / "runs.txt"
    for text, said in {
        "": "names no run",
        "# nothing\n": "names no run",
        "alone\n": '"alone" has no command',
        "a/b jaxlt\n": '"a/b" is no name',
        "a jaxlt\nb jaxlt\na jaxlt\n": '"a" is there twice',
    }.items():
        path.write_text(text)
        assert said in cloud.run("sweep.sh", "--yes", f"--runs={path}", status=2)
    for flags in ((), (f"--runs={path}", "--", "jaxlt")):
        assert "either --runs=FILE or" in cloud.run("sweep.sh", "--yes", *flags, status=2)
    assert "is not there" in cloud.run("sweep.sh", "--yes", "--runs=no.txt", status=2)
    assert cloud.calls() == []
