"""Scripts (ISO 15924): their direction, and those of languages that CLDR leaves out."""

from typing import Literal

Direction = Literal["ltr", "rtl"]
UNKNOWN = "Zyyy"  # ISO 15924's code of a script that nobody has told
_RIGHT_TO_LEFT = (
    "Adlm Arab Aran Armi Avst Chrs Cprt Elym Hatr Hebr Hung Khar Lydi Mand Mani Mend Merc Mero "
    "Narb Nbat Nkoo Orkh Ougr Palm Phli Phlp Phnx Prti Rohg Samr Sarb Sogd Sogo Syrc Syre Syrj "
    "Syrn Thaa Yezi"
)
# Written languages of research whose usual script CLDR's likely subtags do not have.
SCRIPTS = {
    "aii": "Syrc", "syc": "Syrc", "cld": "Syrc", "hbo": "Hebr", "jpa": "Hebr", "tmr": "Hebr",
    "ydd": "Hebr", "arb": "Arab", "afb": "Arab", "ajp": "Arab", "acm": "Arab", "ars": "Arab",
    "acq": "Arab", "pbt": "Arab", "pbu": "Arab", "uzs": "Arab", "ota": "Arab", "pli": "Deva",
    "vsn": "Deva", "orv": "Cyrs", "axm": "Armn", "hyw": "Armn", "oge": "Geor", "ltc": "Hant",
    "och": "Hant", "ojb": "Cans", "ojg": "Cans", "cwd": "Cans", "ess": "Latn", "say": "Latn",
    "gub": "Latn", "apu": "Latn", "ang": "Latn", "enm": "Latn", "gmh": "Latn", "goh": "Latn",
    "fro": "Latn", "frm": "Latn", "osp": "Latn", "non": "Latn", "sga": "Latn", "tpn": "Latn",
    "hmn": "Latn", "pnb": "Arab", "azb": "Arab", "olo": "Latn", "ckt": "Cyrl", "cbk": "Latn",
    "max": "Latn", "ber": "Latn", "tzl": "Latn", "nov": "Latn", "ile": "Latn", "lfn": "Latn",
}  # fmt: skip


def direction(script: str) -> Direction:
    """Returns 'rtl' for scripts written from right to left, 'ltr' for all others."""
    return "rtl" if script in _RIGHT_TO_LEFT.split() else "ltr"
