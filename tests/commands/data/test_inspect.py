"""How `jaxlt data inspect` sets its text: colours, cuts, what a terminal must not obey."""

from rich.console import Console

from jaxlt.commands.data import inspect as data_inspect
from jaxlt.data.reading import Part
from jaxlt.data.rows.views import LanguageInfo


class Few:
    """A mixture of two languages and eight rows a step."""

    batch_size = 8
    languages = ("heb_Hebr", "qqq_Made")

    def info(self):
        rows = ((0.75, 3000, 40), (0.25, 1000, 4000))
        return [
            LanguageInfo(name, rate, 10, tokens, count, (name, name))
            for name, (rate, tokens, count) in zip(self.languages, rows, strict=True)
        ]


def printed(what, width: int = 60) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_an_answer_wears_the_colour_of_its_sentinel():
    parts = [Part("sentinel", "<0>", 0), Part("text", "a"), Part("sentinel", "<1>", 1)]
    parts += [Part("text", "b"), Part("end", "</s>")]
    styles = {name: data_inspect.styled(name, parts, 0) for name in ("inputs", "targets")}
    assert {text.plain for text in styles.values()} == {"<0>a<1>b</s>"}
    assert [str(s.style) for s in styles["targets"].spans] == [
        "bold cyan",
        "cyan",
        "bold magenta",
        "magenta",
        "dim",
    ]
    assert [str(s.style) for s in styles["inputs"].spans] == ["bold cyan", "bold magenta", "dim"]


def test_nothing_in_a_text_moves_the_cursor():
    shown = data_inspect.styled("text", [Part("text", "a\x1b[2J\tb\r\n\x7f\0")], 0).plain
    assert shown == "a\u241b[2J\u21e5b\u240d\u21b5\u2421\u2400"


def test_a_cut_leaves_marks_with_their_letter():
    text = data_inspect.styled("text", [Part("text", "हिन्दी")], 1).plain
    assert text == "हि ..."
    assert data_inspect.styled("text", [Part("text", "हिन्दी")], 6).plain == "हिन्दी"


def test_lines_keep_to_the_right_of_their_label():
    words = data_inspect.styled("text", [Part("text", "一二三四五六七八九十" * 5)], 0)
    lines = printed(data_inspect._grid(("inputs:", words)), 48).splitlines()
    assert lines[0].startswith("inputs: 一") and len(lines) == 3
    assert all(line.startswith(" " * 8 + "一") for line in lines[1:])


def test_the_table_names_languages_and_marks_what_is_seen_too_often():
    table = data_inspect.table(Few(), 100)
    lines = printed(table, 110).splitlines()
    assert "epochs in 100 steps" in lines[0] and len(lines) == 3
    assert lines[1].split()[:3] == ["heb_Hebr", "Hebrew", "75.00%"] and "15.00" in lines[1]
    assert lines[2].split()[:2] == ["qqq_Made", "25.00%"] and "0.05" in lines[2]
    assert lines[1].count("\u2501") == 12 and lines[2].count("\u2501") == 4
    seen = [cell.style for cell in table.columns[-1]._cells]
    assert seen == ["bold yellow", ""]
    assert data_inspect._sums(Few(), 100).endswith("100 steps of 8 rows are 800 rows.")
