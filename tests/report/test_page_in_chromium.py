"""The page in a real browser: with and without scripts, wide and narrow, light, dark, on paper."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jaxlt.report.page import write
from tests.report.pages import EVIL, sections

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium"),
]
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--enable-logging=stderr",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of two studies, with HTML in all that data says."""
    pytest.importorskip("vl_convert", reason="needs the extra `report`")
    return write(tmp_path_factory.mktemp("report"), "Two studies", sections(EVIL))


def browse(path: Path, *flags: str, dark: bool = False) -> tuple[str, str]:
    """Opens a file; returns (what it printed, its log)."""
    assert BROWSER is not None
    profile = path.parent / "profile"
    settings = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    done = subprocess.run(
        [BROWSER, *QUIET, f"--user-data-dir={profile}", settings, *flags, path.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def probed(page: Path, script: str, width: int = 1280, dark: bool = False) -> Any:
    """What a script finds, added to the page in a frame of that width (windows have a least)."""
    inner, outer = page.with_name("probed.html"), page.with_name("frame.html")
    probe = (
        "<script>addEventListener('load', async () => {"
        f"const found = await (async () => {{{script}}})();"
        "parent.postMessage(JSON.stringify(found), '*'); });</script>"
    )
    before, end, after = page.read_text().rpartition("</body>")  # Vega speaks of one, too
    inner.write_text(before + probe + end + after)
    outer.write_text(
        "<pre id=probe></pre><script>addEventListener('message', (event) => {"
        "document.querySelector('#probe').textContent = event.data; });</script>"
        f"<iframe src=probed.html width={width} height=900 style='border:0'></iframe>"
    )
    dom, log = browse(outer, "--dump-dom", "--virtual-time-budget=8000", dark=dark)
    found = re.search(r'<pre id="probe">(.+?)</pre>', dom, re.S)
    assert found is not None, log[-2000:]
    return json.loads(html.unescape(found[1]))


LOOK = """
const seen = (e) => e.getClientRects().length > 0;
const style = getComputedStyle(document.body);
const rgb = (text) => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
const light = (text) => rgb(text).reduce((a, b) => a + b) / 765;
const pictures = [...document.querySelectorAll(".picture")].filter(seen);
const letters = pictures.flatMap((p) => [...p.querySelectorAll("text")]);
return {
  title: document.title,
  across: document.documentElement.scrollWidth, width: innerWidth,
  back: light(style.backgroundColor), ink: light(style.color),
  pictures: pictures.map((p) => [p.className, p.firstElementChild.getBoundingClientRect().width]),
  letters: letters.map((t) => light(getComputedStyle(t).fill)),
  small: Math.min(...letters.map((t) => t.getBoundingClientRect().height)),
  buttons: document.querySelectorAll("th button").length,
};
"""


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_readable(page: Path, width: int, dark: bool) -> None:
    seen = probed(page, LOOK, width, dark)
    assert seen["title"] == "Two studies"
    assert seen["width"] == width and seen["across"] <= width  # nothing hangs over the side
    assert abs(seen["back"] - seen["ink"]) > 0.7 and (seen["back"] < 0.3) == dark
    kind = "picture narrow" if width == 400 else "picture wide"
    assert {name for name, _ in seen["pictures"]} == {kind}
    assert all(0.8 * min(width - 40, 720) < size < width for _, size in seen["pictures"])
    assert all(abs(letter - seen["back"]) > 0.35 for letter in seen["letters"])
    assert seen["small"] >= 10  # pixels


SORT = """
const table = document.querySelector("section.study > .table table");
const read = () => [...table.tBodies[0].rows].map((r) => r.cells[1].textContent);
const heads = [...table.tHead.rows[0].cells];
const out = [read(), heads.map((h) => h.getAttribute("aria-sort"))];
for (const at of [1, 1, 0]) {
  heads[at].querySelector("button").click();
  out.push(read(), heads.map((h) => h.getAttribute("aria-sort")));
}
return out;
"""


def test_tables_sort_by_a_click(page: Path) -> None:
    before, marks, down, down_marks, up, up_marks, names, _ = probed(page, SORT)
    numbers = [float(text.split()[0]) for text in before]
    assert numbers == sorted(numbers, reverse=True)
    assert marks == [None, None, None, "descending"]
    assert down == before and down_marks == [None, "descending", None, None]
    assert up == before[::-1] and up_marks == [None, "ascending", None, None]
    assert names != up


def test_it_reads_the_same_without_scripts(page: Path) -> None:
    still = page.with_name("still.html")
    text = page.read_text()
    still.write_text(text.replace("script-src 'unsafe-inline'", "script-src 'none'"))
    dom, log = browse(still, "--dump-dom")
    assert "CONSOLE" in log and "Content Security Policy" in log  # no script ran
    assert "<button" not in dom and "<svg" in dom
    with_scripts, _ = browse(page, "--dump-dom")
    assert "<button" in with_scripts
    words = [
        re.sub(r"<script.*?</script>|<[^>]+>", "", each, flags=re.S) for each in (dom, with_scripts)
    ]
    assert words[0].split() == words[1].split()


def requests(path: Path) -> set[str]:
    """Addresses that a page asks for, by the browser's own log; its own are of no origin."""
    log = path.with_name("net.json")
    browse(path, f"--log-net-log={log}", "--dump-dom", "--host-resolver-rules=MAP * ~NOTFOUND")
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return {
        one["url"]
        for one in asked
        if "url" in one and one.get("initiator", "not an origin") != "not an origin"
    }


def test_no_request_leaves_the_page_and_the_console_is_silent(page: Path) -> None:
    control = page.with_name("control.html")
    control.write_text("<script>console.error('loud')</script><img src=http://evil.example/x.png>")
    assert "http://evil.example/x.png" in requests(control)  # the log would show it
    assert requests(page) == set()
    _, loud = browse(control, "--dump-dom")
    assert "CONSOLE" in loud and "loud" in loud
    _, log = browse(page, "--dump-dom")
    assert "CONSOLE" not in log, [line for line in log.splitlines() if "CONSOLE" in line]


def test_it_prints(page: Path) -> None:
    paper = page.with_name("page.pdf")
    browse(page, f"--print-to-pdf={paper}", "--no-pdf-header-footer", dark=True)
    content = paper.read_bytes()
    assert content.startswith(b"%PDF") and len(content) > 20_000
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12


def test_figures_come_alive(page: Path, tmp_path: Path) -> None:
    live = write(tmp_path, "Two studies", sections(EVIL), interactive=True)
    assert 900_000 < live.stat().st_size < 3_000_000
    script = """
    const many = document.querySelectorAll("button.alive").length;
    document.querySelector("button.alive").click();
    await new Promise((done) => setTimeout(done, 1500));
    const drawn = document.querySelectorAll(".vega-embed svg").length;
    return [many, drawn, document.querySelectorAll("button.alive").length];
    """
    assert probed(live, script) == [2, 1, 1]
    assert requests(live) == set()
    _, log = browse(live, "--dump-dom")
    assert "CONSOLE" not in log, [line for line in log.splitlines() if "CONSOLE" in line]
