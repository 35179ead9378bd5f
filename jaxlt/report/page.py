"""One HTML file: claims with their verdicts first, then a section a study. It asks no network.

    text = render("Four studies", [Section(name="mad_x", title="MAD-X", claims=(...), ...)])
    written = write("report", "Four studies", sections)      # page, figures/, tables/

All that comes from data is escaped. What would make the page larger than 10 MB is left out of it
and linked: the figures' and tables' own files lie beside it.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from jaxlt.errors import UserError
from jaxlt.metrics.claims import Verdict
from jaxlt.report import drawing as pictures
from jaxlt.report.figures import Drawing
from jaxlt.report.numbers import chance_of, interval, number
from jaxlt.report.tables import (
    Cell,
    Line,
    Table,
    csv,
    latex,
    markdown,
    of_points,
    points_csv,
)

LIMIT = 10_000_000  # bytes of the page
WIDE, NARROW = 720, 344  # widths of a picture, on a desk and in a hand
MOST_LINES, MOST_SAMPLES, MOST_LETTERS = 300, 12, 2000
_RULE = re.compile(r"(low>|high<|abs<)([-+0-9.e]+)")
WORDS = {"holds": "✓", "fails": "✗", "undecided": "?", "incomplete": "…"}


@dataclasses.dataclass(frozen=True)
class Claimed:
    """A claim with its verdict.

    effect, rule: what was to hold of what, 'low > 0'. seeds: how many are done, of how many. paper:
    its number. note: what a reader has to know, 'the rule was changed after data'.
    """

    text: str
    verdict: Verdict
    effect: str = ""
    rule: str = ""
    seeds: tuple[int, int] = (0, 0)
    paper: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A text, its words over their glosses where both are as many. answers: (who, what)."""

    language: str
    text: str
    gloss: str = ""
    answers: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """A study. links: (name, path from the page's folder) of its runs; notes: stale rows, ..."""

    name: str
    title: str = ""
    question: str = ""
    claims: tuple[Claimed, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    how_to_run: str = ""
    samples: tuple[Sample, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class Budget:
    """What a page may still take; a part of it is kept for links to what is left out."""

    def __init__(self, left: int) -> None:
        self.left, self.kept = left - LIMIT // 10, LIMIT // 12

    def block(self, html: str, instead: str = "") -> str:
        """The block where there is room for it, else the link, else nothing."""
        size = len(html.encode())
        if size <= self.left:
            self.left -= size
            return html
        self.kept -= len(instead.encode())
        return instead if self.kept > 0 else ""


def render(
    title: str, sections: Sequence[Section], about: str = "", interactive: bool = False
) -> str:
    """Returns the page. about: a line below the title. interactive: figures come alive on demand.

    Without the extra `report` figures are tables of their numbers.
    """
    style, script = _packaged("style.css"), _packaged("page.js")
    scripts = [script]
    if interactive:
        scripts.insert(0, pictures.interactive_script())
    budget = Budget(LIMIT - sum(len(each.encode()) for each in (style, *scripts)))
    claims = budget.block(_claims(sections), "<p>There are too many claims for this page.</p>")
    body = [_section(section, budget, interactive) for section in sections]
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    if interactive:
        policy += " 'unsafe-eval'"
    contents = "".join(f'<a href="#{_id(s.name)}">{_say(s.title or s.name)}</a>' for s in sections)
    contents = f'<nav aria-label="Studies">{contents}</nav>' if len(sections) > 1 else ""
    contents = budget.block(contents)
    about = f'<p class="about">{_say(about)}</p>' if about else ""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f'<meta name="color-scheme" content="light dark"><title>{_say(title)}</title>',
            f"<style>\n{style}</style></head><body>",
            f"<header><h1>{_say(title)}</h1>{about}{contents}</header>",
            f"<main>\n{claims}",
            *body,
            "</main>",
            *(f"<script>{_quiet(each)}</script>" for each in scripts),
            "</body></html>\n",
        ]
    )


def write(
    folder: str | Path,
    title: str,
    sections: Sequence[Section],
    about: str = "",
    interactive: bool = False,
) -> Path:
    """Writes index.html, and every figure and table as files beside it; returns the page's path."""
    folder = Path(folder)
    claims = claims_of(sections)
    if claims.lines:
        for ending, text in (("csv", csv), ("tex", latex), ("md", markdown)):
            _put(folder / f"tables/claims.{ending}", text(claims))
    for section in sections:
        for table in section.tables:
            _put(folder / _path("tables", section, table.name, "csv"), csv(table))
            _put(folder / _path("tables", section, table.name, "tex"), latex(table))
        for figure in section.figures:
            numbers = points_csv(figure.data["points"])
            _put(folder / _path("figures", section, figure.name, "csv"), numbers)
            if pictures.can_draw():
                svg = pictures.picture(figure, WIDE).svg
                _put(folder / _path("figures", section, figure.name, "svg"), svg)
                _put(folder / _path("figures", section, figure.name, "png"), pictures.png(svg))
    page = folder / "index.html"
    _put(page, render(title, sections, about, interactive))
    return page


def claims_of(sections: Iterable[Section]) -> Table:
    """All claims of some studies as a table of words: for a paper, or a README."""
    lines = []
    for section in sections:
        for claim in section.claims:
            found = claim.verdict.estimate
            effect = span = "–"
            if found is not None:
                effect = number(found.value, signed=True)
                span = interval(found.low, found.high, signed=True) or "–"
            seeds = "{} of {}".format(*claim.seeds) if claim.seeds[1] else "–"
            words = (claim.text, claim.verdict.verdict, effect, span, seeds, claim.paper or "–")
            study = section.title or section.name
            lines.append(Line(study, tuple(Cell(words=word) for word in words)))
    head = ("study", "claim", "verdict", "effect", "interval", "seeds", "paper")
    return Table("claims", "Claims with their verdicts", head, tuple(lines))


def _put(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def _path(kind: str, section: Section, name: str, ending: str) -> str:
    return f"{kind}/{_id(section.name)}-{_id(name)}.{ending}"


def _packaged(name: str) -> str:
    return resources.files("jaxlt.report").joinpath(name).read_text(encoding="utf-8")


def _id(name: str) -> str:
    """A name that a link, a file and an attribute can have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"


def _say(text: str, most: int = MOST_LETTERS) -> str:
    """Text from data, escaped; what is longer than `most` is cut."""
    return escape(text if len(text) <= most else text[:most] + "…")


def _quiet(script: str) -> str:
    """A script that cannot end its own element: what it means does not change."""
    return re.sub(r"<(/script|!--)", lambda found: f"<\\{found[1]}", script, flags=re.IGNORECASE)


def _claims(sections: Iterable[Section]) -> str:
    """The first screen: every claim of every study."""
    sections = list(sections)
    claimed = [claim for section in sections for claim in section.claims]
    if not claimed:
        return ""
    counts = {word: sum(c.verdict.verdict == word for c in claimed) for word in WORDS}
    told = ", ".join(f"{n} {_plural(word, n)}" for word, n in counts.items() if n)
    lines = []
    for section in sections:
        if len(sections) > 1 and section.claims:
            study = f'<a href="#{_id(section.name)}">{_say(section.title or section.name)}</a>'
            lines.append(f'<tr class="of"><th scope="rowgroup" colspan="4">{study}</th></tr>')
        lines += map(_claim, section.claims)
    files = " · ".join(
        f'<a href="tables/claims.{ending}">{word}</a>'
        for ending, word in (("csv", "CSV"), ("tex", "LaTeX"), ("md", "Markdown"))
    )
    head = "".join(f'<th scope="col">{h}</th>' for h in ("Verdict", "Claim", "Effect", "Paper"))
    return (
        f'<section class="claims" aria-labelledby="claims"><h2 id="claims">Claims</h2>'
        f'<p class="about">{len(claimed)} claim{"s" * (len(claimed) > 1)}: {told}.</p>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        f'<p class="files small">{files}</p></section>'
    )


def _plural(word: str, n: int) -> str:
    """'1 holds', '2 hold', '3 undecided'."""
    return word.removesuffix("s") if n > 1 else word


def _claim(claim: Claimed) -> str:
    verdict, estimate = claim.verdict, claim.verdict.estimate
    word = verdict.verdict
    note = f'<p class="small">{_say(claim.note)}</p>' if claim.note else ""
    reason = f'<p class="small">{_say(verdict.reason)}</p>' if verdict.reason else ""
    rule = " · ".join(f"<code>{_say(text)}</code>" for text in (claim.effect, claim.rule) if text)
    done, planned = claim.seeds
    seeds = f"{done} of {planned} seeds" if planned else ""
    effect = "–"
    if estimate is not None:
        level = f"{100 * estimate.confidence:.4g}%"
        p = "" if verdict.corrected is None else f"{escape(chance_of(verdict.corrected))} (Holm)"
        small = " · ".join(
            filter(None, (f"{level} interval" if estimate.interval else "", seeds, p))
        )
        effect = (
            f'<span class="effect">{number(estimate.value, signed=True)}</span> '
            f'<span class="nowrap">{interval(estimate.low, estimate.high, signed=True)}</span>'
            f'{_whisker(claim)}<p class="small">{small}</p>'
        )
    elif seeds:
        effect = f'<p class="small">{seeds}</p>'
    return (
        f'<tr class="{word}"><td><span class="verdict {word}"><span aria-hidden="true">'
        f"{WORDS[word]}</span> {word}</span></td>"
        f"<td><p>{_say(claim.text)}</p>{note}"
        f'<details><summary>Rule and reason</summary><p class="small">{rule}</p>{reason}</details>'
        f'</td><td>{effect}</td><td class="paper">{_say(claim.paper) or "–"}</td></tr>'
    )


def _whisker(claim: Claimed, width: int = 168) -> str:
    """A small picture: the interval, 0, and in grey where the rule wants it to lie."""
    estimate = claim.verdict.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    rule = _RULE.fullmatch(claim.rule.replace(" ", ""))
    bound = float(rule[2]) if rule else 0.0
    reach = 1.1 * max(map(abs, (estimate.low, estimate.high, 1.6 * bound))) or 1.0
    wanted = {
        "low>": (bound, reach), "high<": (-reach, bound), "abs<": (-bound, bound), "": (0.0, 0.0),
    }[rule[1] if rule else ""]  # fmt: skip

    def at(value: float) -> float:
        return round(width / 2 * (1 + value / reach), 1)

    low, high, middle, left = map(at, (estimate.low, estimate.high, estimate.value, wanted[0]))
    return (
        f'<svg class="whisker" width="{width}" height="20" viewBox="0 0 {width} 20" '
        f'aria-hidden="true"><rect class="wanted" x="{left}" width="{at(wanted[1]) - left:.1f}" '
        f'y="2" height="16"/><line class="zero" x1="{at(0)}" x2="{at(0)}" y1="0" y2="20"/>'
        f'<line class="reach" x1="{low}" x2="{high}" y1="10" y2="10"/>'
        f'<circle cx="{middle}" cy="10" r="4.5"/></svg>'
    )


def _section(section: Section, budget: Budget, interactive: bool) -> str:
    own = _id(section.name)
    question = f'<p class="question">{_say(section.question)}</p>' if section.question else ""
    head = f"<h2>{_say(section.title or section.name)}</h2>{question}"
    parts = [f'<section class="study" id="{own}">', budget.block(head, "")]
    if section.notes:
        notes = "".join(f"<li>{_say(note)}</li>" for note in section.notes)
        parts.append(budget.block(f'<ul class="notes">{notes}</ul>', ""))
    for figure in section.figures:
        parts.append(_figure(section, figure, budget, interactive))
    for table in section.tables:
        where = _path("tables", section, table.name, "csv")
        link = f'<a href="{where}">{where}</a>'
        instead = f"<p>{_say(table.title, 200)}: too large for this page, in {link}.</p>"
        shown = _table(table, _files("tables", section, table.name))
        if table.folded:
            shown = f"<details><summary>{_say(table.title)}</summary>{shown}</details>"
        parts.append(budget.block(shown, instead))
    if section.how_to_run:
        run = f"<h3>How to run it</h3><pre><code>{_say(section.how_to_run)}</code></pre>"
        parts.append(budget.block(run, ""))
    if section.samples:
        few = section.samples[:MOST_SAMPLES]
        shown = f"<h3>Samples</h3>{''.join(map(_sample, few))}"
        if len(few) < len(section.samples):
            shown += f'<p class="small">{len(few)} of {len(section.samples)} samples.</p>'
        parts.append(budget.block(shown, "<p>The samples are too large for this page.</p>"))
    if section.links:
        links = "".join(
            f'<li><a href="{escape(to)}">{_say(name)}</a></li>'
            for name, to in section.links[:MOST_LINES]
        )
        opened = f"<summary>{len(section.links)} folders of runs</summary><ul>{links}</ul>"
        parts.append(budget.block(f'<details class="links">{opened}</details>', ""))
    return "\n".join([*filter(None, parts), "</section>"])


def _files(kind: str, section: Section, name: str) -> str:
    """Links to the files beside the page."""
    endings = {"tables": {"csv": "CSV", "tex": "LaTeX"}, "figures": {"csv": "CSV"}}[kind]
    if kind == "figures" and pictures.can_draw():
        endings = {"svg": "SVG", "png": "PNG"} | endings
    links = (
        f'<a href="{_path(kind, section, name, ending)}">{word}</a>'
        for ending, word in endings.items()
    )
    return f'<p class="files small">{" · ".join(links)}</p>'


def _numbers(figure: Drawing) -> Table:
    return of_points(figure.name, f"{figure.title}: the numbers", figure.data["points"])


def _figure(section: Section, figure: Drawing, budget: Budget, interactive: bool) -> str:
    """The picture twice, for wide and for narrow screens, with its numbers behind a click."""
    files = _files("figures", section, figure.name)
    numbers = _table(_numbers(figure), "")
    title = _say(figure.title)
    notes = "".join(f'<p class="small">{_say(note)}</p>' for note in figure.notes)
    text = f"<p>{_say(figure.figure.text)}</p>" if figure.figure.text else ""
    link = f"<p>{_say(figure.title, 200)}: too large for this page, in its files.</p>{files}"
    if not pictures.can_draw():
        words = "<p class=small>Drawn with the extra: pip install 'jaxlt[report]'.</p>"
        caption = f"<figcaption><h3>{title}</h3>{text}{notes}{words}{files}</figcaption>"
        return budget.block(f"<figure>{caption}{numbers}</figure>", link)
    shown = []
    for kind, width in (("wide", WIDE), ("narrow", NARROW)):
        own = re.sub(r"[^A-Za-z0-9]+", "-", f"{section.name}-{figure.name}-{kind}")
        svg = pictures.on_a_page(pictures.picture(figure, width).svg, own)
        label = f'role="img" aria-label="{title}. {_say(figure.subtitle)}"'
        shown.append(f'<div class="picture {kind}" {label}>{svg}</div>')
    alive = ""
    if interactive:
        data = json.dumps(pictures.picture(figure, WIDE).spec).replace("<", "\\u003c")
        alive = (
            '<button type="button" class="alive" hidden>Interactive</button>'
            f'<script type="application/json">{data}</script>'
        )
    caption = (
        f"<figcaption>{text}{notes}{files}{alive}"
        f"<details><summary>The numbers</summary>{numbers}</details></figcaption>"
    )
    return budget.block(f"<figure>{''.join(shown)}{caption}</figure>", link)


def _table(table: Table, files: str) -> str:
    """A table that is sorted already; the script makes buttons of its heads."""
    heads = []
    for at, name in enumerate(table.head):
        way = "descending" if table.descending else "ascending"
        ordered = f' aria-sort="{way}"' if at and at == table.sorted_by else ""
        heads.append(f'<th scope="col"{ordered}>{_say(name)}</th>')
    few = table.lines[:MOST_LINES]
    lines = "".join(_line(line) for line in few)
    note = table.note
    if len(few) < len(table.lines):
        note = f"{note} {len(few)} of {len(table.lines)} lines; the CSV file has all.".strip()
    below = f'<p class="small">{_say(note)}</p>' if note else ""
    return (
        f'<div class="table"><h3>{_say(table.title)}</h3><div class="scroll" tabindex="0" '
        f'role="region" aria-label="{_say(table.title)}"><table class="sortable">'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{lines}</tbody></table></div>"
        f"{below}{files}</div>"
    )


def _line(line: Line) -> str:
    cells = "".join(map(_cell, line.cells))
    words = " ".join(word for word in ("quiet", "apart") if getattr(line, word))
    kind = f' class="{words}"' if words else ""
    return f'<tr{kind}><th scope="row">{_say(line.label, 200)}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    """A cell; its number is there for sorting, its mark in words for those who hear the page."""
    if cell.words:
        return f"<td>{_say(cell.words, 200)}</td>"
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    text = _say(cell.text)
    if cell.mark == "best":
        return f'<td{value}><strong title="best">{text}</strong></td>'
    if cell.mark == "tied":
        return f'<td{value}>{text}<span title="not shown to differ from the best"> ≈</span></td>'
    return f"<td{value}>{text}</td>"


def _sample(sample: Sample) -> str:
    words, glosses = sample.text.split(), sample.gloss.split()
    if glosses and len(words) == len(glosses):
        pairs = zip(words, glosses, strict=True)
        shown = "".join(f"<span><b>{_say(w)}</b><i>{_say(g)}</i></span>" for w, g in pairs)
        text = f'<p class="glossed" dir="auto">{shown}</p>'
    else:
        gloss = f'<p class="small">{_say(sample.gloss)}</p>' if sample.gloss else ""
        text = f'<p dir="auto">{_say(sample.text)}</p>{gloss}'
    answers = "".join(f"<dt>{_say(who)}</dt><dd>{_say(what)}</dd>" for who, what in sample.answers)
    answers = f"<dl>{answers}</dl>" if answers else ""
    return f'<div class="sample"><p class="small">{_say(sample.language)}</p>{text}{answers}</div>'
