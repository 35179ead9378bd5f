"""The table of languages: codes, facts, backbones, and routing ids that stay."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.languages import LanguageTable, lookup, parse
from jaxlt.data.languages.backbones import BACKBONES, languages_of
from jaxlt.data.languages.facts import read_facts
from jaxlt.data.languages.scripts import direction
from jaxlt.errors import UserError


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("uig_Arab", "uig_Arab"),
        ("ug", "uig_Arab"),
        ("zh", "zho_Hans"),
        ("zh-Hans", "zho_Hans"),
        ("zh-TW", "zho_Hant"),
        ("cmn_Hans", "cmn_Hans"),
        ("sr", "srp_Cyrl"),
        ("sr-Latn", "srp_Latn"),
        ("sh", "srp_Latn"),
        ("hbs", "srp_Latn"),
        ("hbs_Cyrl", "srp_Cyrl"),
        ("mol", "ron_Latn"),
        ("hmn", "hmn_Latn"),
        ("pnb", "pnb_Arab"),
        ("azb", "azb_Arab"),
        ("ckt", "ckt_Cyrl"),
        ("gsw", "gsw_Latn"),
        ("pt_BR", "por_Latn"),
        ("ger", "deu_Latn"),
        ("iw", "heb_Hebr"),
        ("khk", "khk_Cyrl"),
        ("twi", "twi_Latn"),
        ("fil", "fil_Latn"),
        ("cop", "cop_Copt"),
        ("qaf", "qaf_Zyyy"),
        ("Uyghur", "uig_Arab"),
        ("swiss german", "gsw_Latn"),
        ("日本語", "jpn_Jpan"),
    ],
)
def test_codes_of_every_kind(text: str, code: str) -> None:
    assert lookup(text).code == code


@pytest.mark.parametrize(
    "text", ["", "xyz", "uig_Arap", "und", "en-x-mine", "x-0", "007", "no language"]
)
def test_what_is_no_language(text: str) -> None:
    assert parse(text) is None


def test_every_code_is_its_own_code() -> None:
    for text in " ".join(BACKBONES.values()).split():
        language = lookup(text)
        assert lookup(language.code) == language
        assert lookup(language.tag).code == language.code, language


def test_the_nearest_is_offered() -> None:
    with pytest.raises(UserError, match="Did you mean 'uig_Arab'"):
        lookup("uig_Arap")
    with pytest.raises(UserError, match="Did you mean 'Swahili'"):
        lookup("Swahilly")


def test_what_backbones_saw() -> None:
    sizes = {name: len(languages_of(name)) for name in BACKBONES}
    assert sizes == {"mT5": 107, "ByT5": 107, "XLM-R": 100, "mBERT": 104}
    latin = [code for code in BACKBONES["mT5"].split() if code.endswith("-Latn")]
    assert latin == ["bg-Latn", "el-Latn", "hi-Latn", "ja-Latn", "ru-Latn", "zh-Latn"]
    assert len({code.split("_")[0] for code in languages_of("mT5")}) == 101
    romanised = [code for code in BACKBONES["XLM-R"].split() if code.endswith("-Latn")]
    assert romanised == ["bn-Latn", "hi-Latn", "ta-Latn", "te-Latn", "ur-Latn"]
    assert all(not code.endswith("_Zyyy") for name in BACKBONES for code in languages_of(name))


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("haw", "mT5 ByT5"),  # Hawaiian, Hmong and Corsican are mC4's alone
        ("hmn_Latn", "mT5 ByT5"),
        ("co", "mT5 ByT5"),
        ("ru-Latn", "mT5 ByT5"),
        ("hi-Latn", "mT5 ByT5 XLM-R"),
        ("ta-Latn", "XLM-R"),
        ("my-Qaag", "XLM-R"),
        ("as", "XLM-R"),
        ("sa", "XLM-R"),
        ("om", "XLM-R"),
        ("br", "XLM-R mBERT"),
        ("hr", "XLM-R mBERT"),  # mC4's language identification has no Croatian or Bosnian apart
        ("bs", "XLM-R mBERT"),
        ("ht", "mT5 ByT5 mBERT"),
        ("lb", "mT5 ByT5 mBERT"),
        ("tg", "mT5 ByT5 mBERT"),
        ("eo", "mT5 ByT5 XLM-R"),
        ("am", "mT5 ByT5 XLM-R"),  # neither is among the Wikipedias of mBERT
        ("or", "XLM-R"),
        ("th", "mT5 ByT5 XLM-R mBERT"),
        ("mn", "mT5 ByT5 XLM-R mBERT"),
        ("no", "mT5 ByT5 XLM-R mBERT"),
        ("ceb", "mT5 ByT5 mBERT"),
        ("pnb", "mBERT"),
        ("azb", "mBERT"),
        ("sh", "mBERT"),
        ("tt", "mBERT"),
        ("zh-Hant", "mT5 ByT5 XLM-R mBERT"),
        ("wo", ""),
        ("rw", ""),
        ("cop", ""),
    ],
)
def test_who_saw_this_language(code: str, seen: str) -> None:
    assert lookup(code).seen == tuple(seen.split())


def test_what_backbones_saw_by_any_code() -> None:
    assert lookup("uig_Arab").seen == ("XLM-R",)
    assert lookup("uig_Latn").seen == ()
    assert lookup("yor").seen == ("mT5", "ByT5", "mBERT")
    for chief in ("swh", "cmn", "pes", "npi", "azj", "arb"):
        assert lookup(chief).seen == ("mT5", "ByT5", "XLM-R", "mBERT"), chief
    assert lookup("arq").seen == ()
    assert lookup("tgl").seen == lookup("fil").seen


def test_families_and_directions() -> None:
    assert lookup("tr").family == "Turkic"
    assert lookup("swh").family == lookup("swa").family == "Atlantic-Congo"
    assert lookup("ydd").direction == lookup("dv").direction == "rtl"
    assert lookup("hi").direction == direction("Grek") == "ltr"


def _write(path: Path, text: str) -> str:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def test_tables_of_the_user_win(tmp_path: Path) -> None:
    own = _write(
        tmp_path / "own.tsv",
        "code\tname\tfamily\tdirection\tjoshi\taliases\n"
        "asha_Latn\tAsha\tMade\t\t0\tash, old-asha\n"
        "uig_Arab\t\tAltaic\t\t2\t\n"
        "qqq_Arab\tNew One\n",
    )
    table = LanguageTable.read([own])
    assert [language.code for language in table.own] == ["asha_Latn", "uig_Arab", "qqq_Arab"]
    asha = table.get("old-asha")
    assert (asha.code, asha.script, asha.family, asha.joshi) == ("asha_Latn", "Latn", "Made", 0)
    assert table.get("Asha") == table.get("asha_latn") == asha
    uyghur = table.get("ug")
    assert (uyghur.name, uyghur.family, uyghur.joshi) == ("Uyghur", "Altaic", 2)
    assert uyghur.seen == ("XLM-R",)
    assert table.get("new one").direction == "rtl"
    with pytest.raises(UserError, match="Did you mean 'asha_Latn'"):
        table.get("asha_Latin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("language\tname\nx\ty\n", "no table of languages"),
        ("", "no table of languages"),
        ("code\tfamly\nx\ty\n", "Did you mean 'family'"),
        ("code\tjoshi\neng_Latn\t7\n", "line 2.*not '7'"),
        ("code\tdirection\neng_Latn\tup\n", "line 2.*'up'"),
        ("code\tname\n\tEnglish\n", "line 2.*empty"),
        ("code\tname\na_Latn\tA\tB\n", "line 2: 3 cells"),
        ("code\tname\na_Latn\tA\na_Latn\tB\n", "twice"),
        ("code\tname\na_Latn\tA\nb_Latn\tA\n", "two languages"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LanguageTable.read([_write(tmp_path / "own.tsv", text)])


HEADS = [b"", b"code\tname\tscript\tjoshi\taliases\n", b"swh,2,swahili\n"]
HEADS += [b"iso639_3\tfamilies\n", b"ISO639-3\tISO15924-Main\n", b"iso639_3\tfamily\tisolate\n"]


@given(st.sampled_from(HEADS), st.binary(max_size=40) | st.text("a\t,\n\r1_", max_size=30))
@settings(max_examples=300, deadline=None)
def test_no_table_crashes(tmp_path_factory, head: bytes, body: bytes | str) -> None:
    path = tmp_path_factory.getbasetemp() / "table.tsv"
    path.write_bytes(head + (body.encode() if isinstance(body, str) else body))
    try:
        table = LanguageTable.read([str(path)])
    except UserError:
        return
    assert all(table.get(language.code) == language for language in table.own)


LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=3)
NAMES = st.builds("{}_{}".format, LETTERS, st.sampled_from(["Latn", "Arab"]))


@given(st.dictionaries(NAMES, st.sampled_from(["", "0", "3", "5"]), max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_table_that_is_written_is_read_back(tmp_path_factory, rows: dict[str, str]) -> None:
    path = tmp_path_factory.getbasetemp() / "own.tsv"
    path.write_text("code\tjoshi\n" + "".join(f"{c}\t{j}\n" for c, j in rows.items()))
    found = LanguageTable.read([str(path)]).own
    assert {one.code: "" if one.joshi is None else str(one.joshi) for one in found} == rows


@given(st.text(max_size=20) | st.text("aehnstxz-_01AL\0\x80", max_size=12))
@settings(max_examples=300, deadline=None)
def test_no_code_crashes(text: str) -> None:
    found = parse(text)
    assert found is None or parse(found.code) == found._replace(told=True)


def test_published_tables(tmp_path: Path) -> None:
    paths = [
        _write(
            tmp_path / "glottolog.tsv.gz",
            "glottocode\tiso639_3\tname\tfamily\tisolate\n"
            "a\tswh\tSwahili\tAtlantic-Congo!\t\nb\teus\tBasque\t\ttrue\n",
        ),
        _write(tmp_path / "uriel.tsv", "iso639_3\tfamilies\nswh\tNo|More\nain\tAinu\n"),
        _write(tmp_path / "guess.tsv", "ISO639-3\tISO15924-Main\tX\ncri\tLatn\t\naaa\t\n"),
        _write(tmp_path / "joshi.txt", "swh,2,swahili\ncmn,5,mandarin\n"),
    ]
    table = LanguageTable.read(paths)
    assert table.get("swa").family == "Atlantic-Congo!"
    assert table.get("eus").family == "Basque"
    assert table.get("ain").family == "Ainu"
    assert table.get("cri").code == "cri_Latn"
    assert (table.get("swa").joshi, table.get("zh").joshi) == (2, 5)
    assert lookup("zh").joshi is None


def test_the_shared_tables(shared_data: Path) -> None:
    meta = shared_data / "meta"
    paths = [
        meta / f"{name}.tsv.gz" for name in ("glottolog_languages", "linguameta", "glotscript")
    ]
    paths += [meta / "uriel_family.tsv.gz", meta / "joshi2020_lang2tax_iso.txt"]
    table = LanguageTable(read_facts(map(str, paths)))
    rows = (shared_data / "udhr" / "languages.tsv").read_text("utf-8").splitlines()[1:]
    for key, language, script, _, way, *_ in (row.split("\t") for row in rows):
        if language != "und":
            found = table.get(f"{language}_{script}")
            assert (found.code, found.direction) == (f"{language}_{script}", way), key
    for path in (shared_data / "mt" / "bible").glob("*.txt.gz"):
        code = path.name.removesuffix(".txt.gz")
        assert table.get(code).code == code
        assert table.get(code).family
