"""What is installed: a wheel with its gin files, found from any folder."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import jaxlt
from jaxlt.config import shipped_configs

ROOT = Path(jaxlt.__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="jaxlt is not run from its repository"
)


@pytest.mark.slow
def test_the_wheel_carries_the_gin_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("jaxlt-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"jaxlt/gin_configs/{p.relative_to(shipped_configs())}"
        for p in shipped_configs().rglob("*.gin")
    }
    assert wanted and wanted <= names
    assert {"jaxlt/report/style.css", "jaxlt/report/page.js"} <= names
    unpacked = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(unpacked)
    run = ["-m", "jaxlt", "plan", "--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    out = subprocess.run(
        [sys.executable, *run, "--gin.BATCH_SIZE=8"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    assert "5,247,232" in out.stdout


def test_ci_finds_both_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    for name, needed in (("demo", "jaxlt demo"), ("tests", "pytest")):
        (command,) = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)\n```", readme, re.S)
        assert needed in command
        assert f"readme_command {name}" in script


def test_the_map_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for room in sorted(p.parent.name for p in (ROOT / "jaxlt").glob("*/__init__.py")):
        assert f"`jaxlt/{room}/`" in page


def test_the_readme_has_the_verdicts_of_the_rows() -> None:
    """Those that are not incomplete."""
    from jaxlt.experiments.ledger import of_results
    from jaxlt.report.numbers import interval, number

    readme = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"<!-- claims -->\n(.*?)\n<!-- /claims -->", readme, re.S)
    lines = ["| claim | verdict | effect |", "| --- | --- | --- |"]
    for file in sorted((ROOT / "results").glob("*.jsonl")):
        for one in of_results(file).judged():
            found, word = one.verdict.estimate, one.verdict.verdict
            if found is not None and word != "incomplete":
                span = interval(found.low, found.high, signed=True)
                effect = f"{number(found.value, signed=True)} {span}"
                lines.append(f"| {file.stem}: {one.claim.name} | {word} | {effect} |")
    assert shown.splitlines() == lines


def test_the_pages_name_what_is_there() -> None:
    """Links of the README, and every path of ours that it or a page names; it is a short read."""
    readme = (ROOT / "README.md").read_text()
    assert len(readme.split()) < 900
    pages = [readme, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    paths = {path for text in pages for path in re.findall(r"\((docs/[\w/.]+)\)", text)}
    paths |= {path for text in pages for path in re.findall(r"`((?:jaxlt|tests)/[\w/.]+)`", text)}
    assert paths and not [path for path in sorted(paths) if not (ROOT / path).exists()]
    for text in pages:
        for path in re.findall(r"--gin_file=((?!WORKDIR)[\w/]+\.gin)", text):
            assert (shipped_configs() / path).exists(), path
