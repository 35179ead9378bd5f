"""Scripts: uroman's own output, tables on Uyghur and Sanskrit, the control that has no sound."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.text.settings import TextConfig
from jaxlt.data.text.translit import RandomMap, Table, Uroman, read_table
from jaxlt.errors import UserError

# Uyghur: Arabic to Latin (UAS to ULS). A hamza opens a vowel at the start of a word, and parts it
# from a letter before it elsewhere; n+g is not the letter ng, so it is parted, and its like.
ULS = "a b p t j x d r z s f q k g l m n ng h w y i o u ö ü é e sh ch zh gh"
LETTERS = dict(zip("ابپتجخدرزسفقكگلمنڭھۋيىوۇۆۈېەشچژغ", ULS.split(), strict=True))
VOWELS = "اەېىوۇۆۈ"

# Sanskrit: Devanagari to ISO 15919. A consonant has an `a` of its own, unless a sign follows.
ISO_VOWELS = "ā i ī u ū r̥ ē ai ō au"
ISO = "k kh g gh ṅ c ch j jh ñ ṭ ṭh ḍ ḍh ṇ t th d dh n p ph b bh m y r l ḷ v ś ṣ s h"
SIGNS = dict(zip("ािीुूृेैोौ", ISO_VOWELS.split(), strict=True))
INDEPENDENT = {"अ": "a"} | dict(zip("आइईउऊऋएऐओऔ", ISO_VOWELS.split(), strict=True))
CONSONANTS = dict(zip("कखगघङचछजझञटठडढणतथदधनपफबभमयरलळवशषसह", ISO.split(), strict=True))


def uyghur() -> Table:
    rules = [(source, target, "") for source, target in LETTERS.items()]
    for vowel in VOWELS:
        rules += [("ئ" + vowel, LETTERS[vowel], "start"), ("ئ" + vowel, "'" + LETTERS[vowel], "")]
    parted = [("نگ", "n'g", ""), ("نغ", "n'gh", ""), ("سھ", "s'h", ""), ("ئ", "'", "")]
    return Table(rules + parted)


def sanskrit() -> Table:
    rules = [("।", "|", ""), ("॥", "||", ""), ("ं", "ṁ", ""), ("ः", "ḥ", ""), ("ऽ", "'", "")]
    rules += [(source, target, "") for source, target in INDEPENDENT.items()]
    for source, target in CONSONANTS.items():
        rules += [(source, target + "a", ""), (source + "्", target, "")]
        rules += [(source + sign, target + vowel, "") for sign, vowel in SIGNS.items()]
    return Table(rules)


def test_uroman_prints_what_uroman_prints(shared_data):
    path = shared_data / "translit" / "uroman_multi_script.tsv"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert len(rows) == 31
    for language, text, wanted in rows:
        # The file was stripped at the ends of its lines.
        assert Uroman(language)(text).rstrip() == wanted.rstrip(), language


def test_uroman_by_word_is_uroman_by_text(shared_data):
    from jaxlt.data.text.translit import _uroman

    with gzip.open(shared_data / "udhr" / "udhr.tsv.gz", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t")[-1] for line in file][1::400]
    by_word = Uroman()
    for line in lines:
        assert by_word(line) == _uroman().romanize_string(line)


def test_a_setting_says_uroman():  # here, where its tables are read already
    pytest.importorskip("uroman")
    assert TextConfig(transliterate="uroman").change("uig_Arab")("شىنجاڭ") == "shinjang"


def test_a_table_writes_uyghur(shared_data):
    path = shared_data / "translit" / "uyghur_scripts.tsv"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [(a, b) for source, target, a, b in rows if (source, target) == ("UAS", "ULS")]
    table = uyghur()
    wrong = [(a, b, table(a)) for a, b in pairs if table(a) != b]
    assert len(pairs) == 53 and not wrong


def test_a_table_writes_sanskrit(shared_data):
    with gzip.open(shared_data / "translit" / "sanskrit_scripts.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    deva = {verse: text for script, verse, text in rows if script == "dev"}
    iso = {verse: text for script, verse, text in rows if script == "iso"}
    table = sanskrit()
    words = [(a, b) for v in deva for a, b in zip(deva[v].split(), iso[v].split(), strict=False)]
    assert len(deva) == 100 and len(words) > 1000
    assert not [(a, b, table(a)) for a, b in words if table(a) != b]


def test_the_longest_source_wins_and_places_are_kept():
    table = Table(
        [("s", "с", ""), ("sh", "ш", ""), ("sch", "щ", ""), ("h", "", "end"), ("h", "х", "")]
    )
    assert table("sschshs hah") == "сщшс хa"
    assert table("Sh SH Schah") == "Ш Ш Щa"
    start = Table(
        [("a", "1", "start"), ("a", "2", "inside"), ("ab", "3", "end"), ("क", "k", "start")]
    )
    assert start("aab ab, a") == "13 3, 1"
    assert start("कक") == "kक"
    assert Table([("sh", "ш", "")], cased=False)("Sh sh") == "Sh ш"


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text("xyz", max_size=2), min_size=1),
    st.text("abcd ", max_size=20),
)
@settings(max_examples=80, deadline=None)
def test_tables_equal_a_plain_longest_match(rules, text):
    out, place = "", 0
    while place < len(text):
        for size in (3, 2, 1):
            if text[place : place + size] in rules and place + size <= len(text):
                out += rules[text[place : place + size]]
                break
        else:
            size = 1
            out += text[place]
        place += size
    assert Table([(a, b, "") for a, b in rules.items()], cased=False)(text) == out


def test_tables_of_files(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("\ufeff# Cyrillic\nж\tzh\r\nъ\t\nе\tye\tstart\nе\te\n", encoding="utf-8")
    assert read_table(str(path))("Же ел, подъезд") == "Zhe yeл, подeзд"
    for line, message in (
        ("ж", r"line 1: expected source, target"),
        ("ж\tzh\tmiddle", r"line 1: expected source, target"),
        ("ж\tzh\nж\tj", r"'ж' has two targets: 'zh' and 'j'"),
        ("# nothing", "no rules"),
    ):
        path.write_text(line + "\n", encoding="utf-8")
        with pytest.raises(UserError, match=message):
            read_table(str(path))
    path.write_bytes(b"\xff\xfe\tx\n")
    with pytest.raises(UserError, match="line 1: not UTF-8"):
        read_table(str(path))


@pytest.mark.parametrize(
    "alphabet", ["abcdefghijklmnopqrstuvwxyz", "abcçdeğıöş", "абвгдежз", "añbc", "कखगघ"]
)
def test_the_random_map_is_a_bijection_without_sound(alphabet):
    control = RandomMap(alphabet, seed=4)
    assert sorted(control.letters) == sorted(control.letters.values()) == sorted(set(alphabet))
    assert all(a != b for a, b in control.letters.items())
    text = f"{alphabet} {alphabet[::-1]}, 12."
    said = control(text)
    inverse = {target: source for source, target in control.letters.items()}
    assert "".join(inverse.get(c, c) for c in said) == text and len(said) == len(text)
    assert len(said.encode()) == len(text.encode())
    assert RandomMap(alphabet, seed=4)(text) == said
    assert len(alphabet) < 8 or RandomMap(alphabet, seed=5)(text) != said


def test_the_control_of_a_romanised_text_keeps_lengths_and_case():
    control = RandomMap("abcdefghijklmnopqrstuvwxyz", seed=1)
    text = Uroman("ukr")("Це Україна, 24 серпня!")
    said = control(text)
    assert [len(w) for w in said.split()] == [len(w) for w in text.split()]
    assert [c.isupper() for c in said] == [c.isupper() for c in text]
    with pytest.raises(UserError, match="at least two letters"):
        RandomMap("a", seed=0)
