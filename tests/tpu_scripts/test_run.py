"""run.sh: from nothing to a finished run, through whatever happens to the slices."""

import os
import signal

import pytest

from .conftest import Cloud

pytestmark = pytest.mark.slow  # each call of a script is a dozen processes


def kept(cloud: Cloud, *arguments: str, status: int = 0, **changes: str) -> str:
    return cloud.run("run.sh", "--yes", *arguments, status=status, **changes)


def test_a_run_that_is_preempted_is_created_anew_and_resumes(cloud: Cloud) -> None:
    (cloud.workdir / "preempt").write_text("4")
    said = kept(cloud, "--spot", *cloud.train(8))
    assert "pod is SUSPENDED" in said and "pod is done" in said
    assert len(cloud.calls("resources create")) == 2 and len(cloud.calls("resources delete")) == 1
    assert cloud.step() == 8
    log = (cloud.folder / "logs/pod/pod/pod-host-0.log").read_text()
    assert "host 0 begins at step 4" in log and "exited 0" in log
    assert "pod" in cloud.state["resources"]  # delete.sh is the user's


def test_a_slice_that_goes_while_its_queued_resource_stays(cloud: Cloud) -> None:
    keeper = cloud.start("run.sh", "--yes", *cloud.train(10_000))
    cloud.until(lambda: cloud.step() > 2)
    cloud.set(nodes={"pod": "PREEMPTED"})
    cloud.until(lambda: len(cloud.calls("resources create")) == 2)
    keeper.send_signal(signal.SIGTERM)
    said, _ = keeper.communicate(timeout=20)
    assert keeper.returncode == 143 and "pod is PREEMPTED" in said


def test_a_run_that_is_asked_to_go_by_somebody_else_is_no_crash(cloud: Cloud) -> None:
    keeper = cloud.start("run.sh", "--yes", "--max-crashes=0", *cloud.train(120))
    cloud.until(lambda: cloud.step() > 2)
    for host in "01":  # the command itself, as the one that keeps it would know that it was asked
        runs = cloud.folder / f"hosts/pod/{host}/jaxlt_host/runs/pod"
        os.kill(child_of(int((runs / "pid").read_text())), signal.SIGTERM)
    said, _ = keeper.communicate(timeout=60)
    assert keeper.returncode == 0 and cloud.step() == 120, said
    assert "pod was asked to go, and has saved; it is launched again." in said


def child_of(pid: int) -> int:
    """The process that a shell has started."""
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return int(children.read().split()[0])


def test_the_keeper_may_be_ended_and_started_again(cloud: Cloud) -> None:
    keeper = cloud.start("run.sh", "--yes", *cloud.train(10_000))
    cloud.until(lambda: cloud.step() > 2)
    keeper.send_signal(signal.SIGTERM)
    keeper.communicate(timeout=20)
    at = cloud.step()
    cloud.until(lambda: cloud.step() > at)  # the run goes on by itself
    again = cloud.start("run.sh", "--yes", *cloud.train(10_000))
    begun = len(cloud.calls("watch"))
    cloud.until(lambda: len(cloud.calls("host.sh status")) > begun + 2)
    assert len(cloud.calls("host.sh start")) == 1
    cloud.run("stop.sh", "--yes")
    said, _ = again.communicate(timeout=20)
    assert again.returncode == 11 and "pod was stopped; run.sh again goes on" in said


def test_a_crash_is_repeated(cloud: Cloud) -> None:
    (cloud.workdir / "crash").write_text("3")
    said = kept(cloud, *cloud.train(6), GRACE="0")
    assert "has crashed (1 of at most 3 times)" in said and cloud.step() == 6


def test_a_process_that_was_killed_on_a_host_is_launched_again(cloud: Cloud) -> None:
    keeper = cloud.start("run.sh", "--yes", *cloud.train(150), GRACE="0")
    cloud.until(lambda: cloud.step() > 2)
    pid = cloud.folder / "hosts/pod/0/jaxlt_host/runs/pod/pid"
    os.killpg(int(pid.read_text()), signal.SIGKILL)
    said, _ = keeper.communicate(timeout=60)
    assert keeper.returncode == 0 and cloud.step() == 150, said
    assert "host 0: lost" in said and "has crashed (1 of at most 3 times)" in said


def test_an_error_of_the_user_is_not_repeated(cloud: Cloud) -> None:
    said = kept(cloud, "--run=wrong", "--", "jaxlt", "trian", status=2)
    assert "starting again does not mend" in said and "jaxlt: error: no verb trian" in said
    assert len(cloud.calls("host.sh start")) == 1


def test_a_command_that_always_crashes_is_given_up(cloud: Cloud) -> None:
    said = kept(cloud, "--max-crashes=1", "--", "sh", "-c", "exit 1", status=11)
    assert "pod has ended in an error 2 times." in said
    assert len(cloud.calls("host.sh start")) == 2


def test_quota(cloud: Cloud) -> None:
    cloud.fail("resources create", "RESOURCE_EXHAUSTED: Quota limit 'X' exceeded", times=1)
    assert "Quota limit 'X' exceeded" in kept(cloud, *cloud.train(2), status=3)
    # After a preemption the old slices may still hold it for a while.
    (cloud.workdir / "preempt").write_text("2")
    keeper = cloud.start("run.sh", "--yes", *cloud.train(4))
    cloud.until(lambda: cloud.step() == 2)
    cloud.fail("resources create", "RESOURCE_EXHAUSTED: Quota limit 'X' exceeded", times=2)
    said, _ = keeper.communicate(timeout=60)
    assert keeper.returncode == 0 and cloud.step() == 4, said


def test_requests_that_always_fail_are_given_up(cloud: Cloud) -> None:
    cloud.set(states=["ACCEPTED", "FAILED"], message="no capacity for this request")
    said = kept(cloud, "--max-restarts=2", *cloud.train(2), status=11)
    assert "given up after 2 restarts" in said and "no capacity" in said
    assert len(cloud.calls("resources create")) == 3


def test_hosts_that_stay_dead(cloud: Cloud) -> None:
    cloud.set(hosts=4, dead=["pod/1", "pod/3"])
    keeper = cloud.start("run.sh", "--yes", "--max-silent=2", *cloud.train(3))
    cloud.until(lambda: bool(cloud.calls("resources delete")))
    cloud.set(dead=[])
    said, _ = keeper.communicate(timeout=60)
    assert keeper.returncode == 0, said
    assert "2 of 4 hosts do not answer" in said and "pod is without some of its hosts" in said


def test_slices_of_which_ssh_says_nothing_are_not_deleted(cloud: Cloud) -> None:
    cloud.set(dead=["pod/0", "pod/1"])
    said = kept(cloud, "--max-silent=2", *cloud.train(3), status=11)
    assert "its hosts do not answer to ssh" in said and not cloud.calls("resources delete")


def test_a_launch_that_reached_some_hosts_only(cloud: Cloud) -> None:
    cloud.run("create.sh", "--wait")
    cloud.run("setup.sh")
    cloud.set(hosts=1)
    cloud.run("launch.sh", *cloud.train(10_000))
    cloud.set(hosts=2)  # the second was set up, and has no run
    keeper = cloud.start("run.sh", "--yes", *cloud.train(10_000))
    second = cloud.folder / "hosts/pod/1/jaxlt_host/runs/pod/pid"
    cloud.until(second.exists)
    keeper.send_signal(signal.SIGTERM)
    keeper.communicate(timeout=20)
    assert "running" in cloud.run("watch.sh", "--once")
