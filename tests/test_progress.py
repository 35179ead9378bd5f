"""What takes long says so: where it is heard, and where nothing is said."""

import io
import re
import threading

import pytest

from jaxlt import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class Stream(io.StringIO):
    """A file that lets a test wait for its lines."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        self.written.set()
        return super().write(text)


@pytest.fixture
def speaking():
    progress.speak(True)
    yield
    progress.speak(False)


def test_a_file_gets_sparse_lines_with_counts_and_time(speaking, monkeypatch):
    monkeypatch.setattr(progress, "_LINES", (0.0,))
    stream = Stream()
    with progress.doing("Decoding answers", 8, stream):
        assert stream.written.wait(10)
        with progress.doing("Opening the data"):  # a part of what is shown already
            progress.detail("tokenising aa_Latn")
            assert progress._shown.text().startswith(
                "Decoding answers (tokenising aa_Latn)  0 of 8"
            )
        progress.advance(6)
        assert "6 of 8" in progress._shown.text() and progress._shown.text().endswith(" left")
    first, last = stream.getvalue().splitlines()
    assert re.fullmatch(r"Decoding answers  0 of 8  \d+s", first)
    assert re.fullmatch(r"Decoding answers: \d+s", last)


def test_what_is_quick_says_nothing_in_a_file_and_moves_on_a_terminal(speaking):
    stream, terminal = io.StringIO(), Terminal()
    with progress.doing("Opening the data", stream=stream):
        pass
    assert stream.getvalue() == ""
    with progress.doing("Opening the data", stream=terminal):
        pass
    assert "Opening the data" in terminal.getvalue()


def test_an_error_ends_it_and_leaves_no_line(speaking, monkeypatch):
    monkeypatch.setattr(progress, "_LINES", (0.0,))
    stream = Stream()
    with pytest.raises(ValueError), progress.doing("Judging", stream=stream):
        stream.written.wait(10)
        raise ValueError
    assert re.fullmatch(r"Judging  \d+s\n", stream.getvalue())
    assert progress._shown is None


def test_nothing_is_said_unless_the_command_line_speaks():
    terminal = Terminal()
    with progress.doing("Opening the data", 3, terminal):
        progress.advance(1)
        progress.detail("aa_Latn")
    assert terminal.getvalue() == ""


def test_durations():
    said = [progress.duration(s) for s in (9, 250, 3900, 180_000)]
    assert said == ["9s", "4m 10s", "1h 05m", "2d 02h"]


def test_what_is_counted_inside_may_be_parts_of_another_size(speaking):
    with progress.doing("Answering lines", 9, io.StringIO()):
        with progress.towards(6, 4):  # 6 lines that hold 4 texts
            progress.advance(1)
            assert "1 of 9" in progress._shown.text()
            progress.advance(5)  # one was asked again in halves
            assert "6 of 9" in progress._shown.text()
        with progress.towards(7, 0):  # a blank line
            pass
        progress.advance(1)
        assert "8 of 9" in progress._shown.text()
