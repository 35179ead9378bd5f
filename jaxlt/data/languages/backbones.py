"""What public backbones were pretrained on, as BCP-47 codes, from the lists published with them.

mT5 and ByT5: mC4, the 101 languages that mT5's README and the table of mC4 in its paper name (Xue
et al. 2021), and the six forms in Latin letters that the corpus keeps apart (`MC4_LANGUAGES` of
TensorFlow Datasets); ByT5 (Xue et al. 2022) was trained on the same corpus. XLM-R: CC-100, the 100
languages of the table in its paper (Conneau et al. 2020) and of fairseq's page on it. mBERT: the
104 Wikipedias of the cased model, `multilingual.md` in the repository of BERT (Devlin et al. 2019).
"""

import functools

from jaxlt.data.languages.codes import parse, same_language

_MC4 = (
    "af am ar az be bg bg-Latn bn ca ceb co cs cy da de el el-Latn en eo es et eu fa fi fil fr fy "
    "ga gd gl gu ha haw he hi hi-Latn hmn ht hu hy id ig is it ja ja-Latn jv ka kk km kn ko ku ky "
    "la lb lo lt lv mg mi mk ml mn mr ms mt my ne nl no ny pa pl ps pt ro ru ru-Latn sd si sk sl "
    "sm sn so sq sr st su sv sw ta te tg th tr uk ur uz vi xh yi yo zh zh-Latn zu"
)
# Five are Latin forms; Qaag is CLDR's code for Burmese in the Zawgyi encoding.
_CC100 = (
    "af am ar as az be bg bn bn-Latn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl "
    "gu ha he hi hi-Latn hr hu hy id is it ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr "
    "ms my my-Qaag ne nl no om or pa pl ps pt ro ru sa sd si sk sl so sq sr su sv sw ta ta-Latn te "
    "te-Latn th tl tr ug uk ur ur-Latn uz vi xh yi zh-Hans zh-Hant"
)
# Serbo-Croatian (`sh`) is in Latin letters.
_WIKIPEDIAS = (
    "af sq ar an hy ast az ba eu bar be bn bpy bs br bg my ca ceb ce zh-Hans zh-Hant cv hr cs "
    "da nl en et fi fr gl ka de el gu ht he hi hu is io id ga it ja jv kn kk ky ko la lv lt lmo "
    "nds lb mk mg ms ml mr min mn ne new nb nn oc fa pms pl pt pa ro ru sco sr sr-Latn scn sk "
    "sl azb es su sw sv tl tg ta tt te th tr uk ur uz vi vo war cy fy pnb yo"
)
BACKBONES = {"mT5": _MC4, "ByT5": _MC4, "XLM-R": _CC100, "mBERT": _WIKIPEDIAS}


@functools.cache
def languages_of(backbone: str) -> frozenset[str]:
    """Returns the codes (`iso639-3_Script`, macrolanguages where they have one) a backbone saw."""
    parsed = (parse(code) for code in BACKBONES[backbone].split())
    return frozenset(f"{same_language(p.language)}_{p.script}" for p in parsed if p)


def seen_by(language: str, script: str) -> tuple[str, ...]:
    """Returns the backbones that saw a language (ISO 639-3) in a script, or in a twin of it."""
    code = f"{same_language(language)}_{script}"
    twin = {"Hang": "Kore", "Hani": "Hans", "Aran": "Arab"}.get(script, script)
    codes = {code, f"{same_language(language)}_{twin}"}
    # Corpora labelled plain `zh` and `tl`/`fil` hold both of what others tell apart.
    if code == "zho_Hant":
        codes.add("zho_Hans")
    if language in ("tgl", "fil"):
        codes |= {f"tgl_{script}", f"fil_{script}"}
    if language in ("nob", "nno"):
        codes.add(f"nor_{script}")
    if language == "nor":
        codes |= {f"nob_{script}", f"nno_{script}"}
    return tuple(name for name in BACKBONES if codes & languages_of(name))
