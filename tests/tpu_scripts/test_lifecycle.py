"""The scripts one by one, from create to delete, against a fake gcloud that also goes wrong."""

import pytest

from .conftest import Cloud

pytestmark = pytest.mark.slow  # each call of a script is a dozen processes


def up(cloud: Cloud) -> None:
    """Slices that are there and set up."""
    cloud.run("create.sh", "--wait")
    cloud.run("setup.sh")


def test_from_create_to_delete(cloud: Cloud) -> None:
    cloud.set(states=["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
    said = cloud.run("create.sh", "--spot", "--wait")
    assert "pod is WAITING_FOR_RESOURCES" in said and "pod is ACTIVE" in said
    made = cloud.calls("queued-resources create")
    assert len(made) == 1 and "--spot" in made[0] and "--node-id=pod" in made[0]
    assert "--runtime-version=tpu-ubuntu2204-base" in made[0]

    files = cloud.folder / "my_gin"
    files.mkdir()
    (files / "own.gin").write_text("own")
    cloud.run("setup.sh", f"--files={files}")
    for host in "01":
        folder = cloud.folder / "hosts" / "pod" / host / "jaxlt_host"
        assert (folder / "env/bin/jaxlt").exists() and (folder / "files/my_gin/own.gin").exists()
    installed = (cloud.folder / "installed").read_text().splitlines()
    assert sum("pip install" in line for line in installed) == 2  # one a host
    cloud.run("setup.sh")
    assert (cloud.folder / "installed").read_text().splitlines() == installed  # nothing changed

    said = cloud.run("launch.sh", *cloud.train(10_000))
    assert "pod is started on pod." in said
    cloud.until(lambda: cloud.step() > 3)
    assert "running" in cloud.run("watch.sh", "--once")
    assert "pod is started" in cloud.run("launch.sh", *cloud.train(10_000))  # goes on as it is

    said = cloud.run("stop.sh", "--yes")
    assert "host 0: stopped" in said and "host 1: stopped" in said
    stopped_at = cloud.step()
    said = cloud.run("watch.sh", status=11)
    assert "host 1: stopped" in said
    logs = cloud.folder / "logs" / "pod" / "pod"
    assert "host 1 begins at step " in (logs / "pod-host-1.log").read_text()

    cloud.run("launch.sh", *cloud.train(stopped_at + 5))
    said = cloud.run("watch.sh")
    assert "host 0: exited 0" in said and cloud.step() == stopped_at + 5
    log = (logs / "pod-host-0.log").read_text()
    assert f"host 0 begins at step {stopped_at}" in log
    steps = [line for line in log.splitlines() if line.startswith("step ")]
    assert steps[0] == "step 1" and steps[-1] == f"step {stopped_at + 5}"
    assert len(set(steps)) == len(steps) >= stopped_at + 4  # gathered once each

    cloud.run("delete.sh", "--yes")
    assert cloud.state["resources"] == {} and "--force" in cloud.calls("resources delete")[0]
    assert "there is no pod" in cloud.run("delete.sh", "--yes")


def test_several_slices_are_launched_together(cloud: Cloud) -> None:
    cloud.run("create.sh", "--num-slices=2", "--wait")
    assert "--node-count=2 --node-prefix=pod" in cloud.calls("create")[0]
    cloud.run("setup.sh")
    cloud.run("launch.sh", *cloud.train(3))
    said = cloud.run("watch.sh")
    for slice_ in "01":
        for host in "01":
            assert f"pod-{slice_}, host {host}: exited 0" in said


def test_half_the_hosts_up(cloud: Cloud) -> None:
    cloud.set(hosts=4, dead=["pod/1", "pod/3"])
    cloud.run("create.sh", "--wait")
    for script, command in (("setup.sh", []), ("launch.sh", cloud.train(3))):
        said = cloud.run(script, "--retries=1", *command, status=8)
        assert "2 of 4 hosts do not answer; nothing was done" in said
        assert "pod, host 1" in said and "pod, host 3" in said and "host 0" not in said
    assert not cloud.calls("scp") and not cloud.calls("host.sh start")
    cloud.set(dead=[])
    said = cloud.run("launch.sh", *cloud.train(3), status=8)
    assert "4 of 4 hosts are not set up" in said and "setup.sh --name=pod" in said


def test_a_slice_that_is_not_there_yet(cloud: Cloud) -> None:
    said = cloud.run("launch.sh", *cloud.train(3), status=5)
    assert "there is no pod in a-zone of a-project" in said
    cloud.set(states=["PROVISIONING"])
    cloud.run("create.sh")
    assert "pod is PROVISIONING, not ACTIVE" in cloud.run("launch.sh", *cloud.train(3), status=8)


def test_a_host_that_runs_something_else(cloud: Cloud) -> None:
    up(cloud)
    cloud.run("launch.sh", "--run=first", *cloud.train(10_000))
    said = cloud.run("launch.sh", "--run=second", *cloud.train(3), status=8)
    assert "2 of 2 hosts run something else" in said and "pod, host 1: first" in said


def test_ssh_that_fails_in_passing(cloud: Cloud) -> None:
    up(cloud)
    cloud.fail("host.sh start", "Connection reset by peer", times=2, status=255)
    said = cloud.run("launch.sh", *cloud.train(3))
    assert said.count("gcloud failed in passing") == 2
    cloud.run("watch.sh")
    assert cloud.step() == 3


def test_ssh_that_keeps_failing(cloud: Cloud) -> None:
    up(cloud)
    before = len(cloud.calls())
    cloud.fail("host.sh start", "Connection timed out", times=100, status=255)
    said = cloud.run("launch.sh", "--retries=3", *cloud.train(3), status=10)
    assert "still failing after 3 repetitions" in said and "launch it again" in said
    assert len([c for c in cloud.calls()[before:] if "host.sh start" in c]) == 4


def test_quota(cloud: Cloud) -> None:
    limit = "Quota limit 'TPUV4sPreemptiblePodPerProjectPerRegionForTPUAPI' has been exceeded."
    cloud.fail("create", f"RESOURCE_EXHAUSTED: {limit} Limit: 32 in region a.")
    said = cloud.run("create.sh", status=3)
    assert limit in said  # Google's own words
    for advice in ("--accelerator-type", "--zone", "--spot", "SUSPENDED", "Quotas"):
        assert advice in said
    assert len(cloud.calls()) == 1  # repeating would not help


def test_a_request_that_fails_in_the_queue(cloud: Cloud) -> None:
    cloud.set(states=["ACCEPTED", "FAILED"], message="Quota 'TPUV4s' exhausted. Limit 32")
    said = cloud.run("create.sh", "--wait", status=9)
    assert "Quota 'TPUV4s' exhausted" in said and "delete.sh --name=pod" in said


def test_other_failures_of_create(cloud: Cloud) -> None:
    cloud.fail("create", "UNAVAILABLE: HttpError 503: try again", times=2)
    assert "pod is asked for" in cloud.run("create.sh")
    assert "pod is there already" in cloud.run("create.sh", status=4)
    cloud.fail("create", "PERMISSION_DENIED: Permission 'tpu.nodes.create' denied")
    assert "gcloud auth login" in cloud.run("create.sh", status=6)


def test_what_comes_to_the_hosts_is_what_was_given(cloud: Cloud) -> None:
    up(cloud)
    words = ["it's", 'a "b"', "$HOME", "two  spaces", "['x', 'y']", "a;b", "*", ""]
    target = cloud.folder / "words"
    program = f"import sys; open({str(target)!r} + sys.argv[1][-1], 'w').write(repr(sys.argv[2:]))"
    host = "${FAKE_HOST}"
    text = "python3 -c " + f'"{program}" {host} ' + '"it\'s" two'
    cloud.run("launch.sh", "--run=words", "--", "python3", "-c", program, "h0", *words)
    cloud.run("watch.sh", "--run=words")
    assert (cloud.folder / "words0").read_text() == repr(words)
    cloud.run("launch.sh", "--run=line", f"--command=A=1 {text}")
    cloud.run("watch.sh", "--run=line")
    assert (cloud.folder / "words1").read_text() == repr(["it's", "two"])
