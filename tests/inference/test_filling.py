"""What `jaxlt infer` fills in, and how far it says it is."""

import io
from types import SimpleNamespace

from jaxlt import progress
from jaxlt.data.tasks.kind import kind_of
from jaxlt.inference import filling
from jaxlt.inference.asking import Settings
from jaxlt.inference.formats import format_for
from jaxlt.inference.output import Output


def test_progress_is_in_lines_of_the_file_however_many_texts_are_asked(tmp_path, monkeypatch):
    path = tmp_path / "in.conllu"
    sentence = "".join(f"{i}\tw" + "\t_" * 8 + "\n" for i in (1, 2, 3)) + "\n"
    path.write_text(3 * sentence)
    shown = []

    def ask(task, sentences, *_, **__):
        progress.advance(len(sentences))
        shown.append(progress._shown.text())
        answers = {"tag": ("X",) * 3, "parse": ((0, 1, 1), ("root", "dep", "dep"))}
        return [answers[task]] * len(sentences)

    monkeypatch.setattr(filling, "WINDOW", 1)
    monkeypatch.setattr(filling, "_say_cut", lambda *_: None)
    model = SimpleNamespace(ask=ask, predictor=SimpleNamespace(routed_by=lambda key: False))
    form = format_for("conllu", {"tag": kind_of("tagging"), "parse": kind_of("parsing")})
    progress.speak(True)
    try:
        with (
            progress.doing("Answering lines", 12, io.StringIO()),
            Output(str(tmp_path / "out.conllu"), {}) as output,
        ):
            lines = filling.Lines(str(path))
            filling.fill_in(model, form, lines, output, Settings(batch_size=2))
    finally:
        progress.speak(False)
    counts = [text.split("  ")[1] for text in shown]
    assert counts == ["4 of 12", "8 of 12", "10 of 12", "12 of 12"]
