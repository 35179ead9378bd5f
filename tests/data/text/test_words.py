"""Running text into words by its scripts."""

import pytest

from jaxlt.data.text.words import check_words, rule, split, unparted
from jaxlt.errors import UserError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "The U.S. didn't pay 1,000.50 euros... (really?)",
            "The|U.S.|didn't|pay|1,000.50|euros|...|(|really|?|)",
        ),
        (
            "see https://x.org/a?b=1. 'e-mail' 50% 3rd",
            "see|https://x.org/a?b=1|.|'|e-mail|'|50|%|3rd",
        ),
        (
            "l’homme İstanbul'da नमस्ते। می\u200cخواهم، ١٬٠٠٠",
            "l’homme|İstanbul'da|नमस्ते|।|می\u200cخواهم|،|١٬٠٠٠",
        ),
        ("e\u0301te\u0301 x_y #a 👩\u200d👧", "e\u0301te\u0301|x_y|#|a|👩\u200d👧"),
        ("我爱北京。Hello世界 2024年", "我|爱|北|京|。|Hello|世|界|2024|年"),
        ("ไปไหนมา เก่ง 100", "ไป|ไห|น|มา|เก่|ง|100"),
        ("ຕາ ខ្មែរ မြန်", "ຕາ|ខ្មែ|រ|မြ|န်"),
        ("བོད་སྐད", "བོད་|སྐད"),
        ("カタカナー です", "カタカナー|で|す"),
        ("  \t ", ""),
    ],
)
def test_words_are_split_and_lose_nothing(text, words):
    found = split(text)
    assert "|".join(word.form for word in found) == words
    joined = "".join(word.form + " " * word.spaced for word in found)
    assert joined.strip() == " ".join(text.split())


def test_scripts_that_part_no_words_are_named():
    assert unparted("Hello, мир 100") == () and unparted("ไป 世") == ("Han", "Thai")
    assert rule("a") == "split at spaces and punctuation by jaxlt"
    assert rule("a ไป").endswith("every character of Thai alone")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("It barks.", r"Here is the text 'It barks.' where its words.*\['It', 'barks', '.'\]"),
        (["a", ""], "Here has '' for a word"),
        ([["a"]], r"Here has \['a'\] for a word"),
        (3, "Here is a list of words, not 3"),
    ],
)
def test_what_is_no_list_of_words(given, message):
    with pytest.raises(UserError, match=message):
        check_words(given, "Here")
    check_words(("a", "b"), "Here")
