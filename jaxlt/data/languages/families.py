"""Families of the languages that backbones and test sets have most; tables know the others."""

from jaxlt.data.languages.codes import parse

_FAMILIES = {
    "Afro-Asiatic": "am ar arz ary arq apc aii syc he hbo ha mt so om ti kab tzm taq cop aar bej "
    "akk",
    "Atlantic-Congo": "ak bem cjk dyu ee fon ig kam kbp ki rw kmb kg lg ln lua nso ny rn sg sn st "
    "ss sw tn ts tum twi umb wo xh yo zu fuv mos",
    "Austroasiatic": "km vi sat",
    "Austronesian": "ace ban bjn bug ceb fj fil haw id ilo jv mg mi min ms pag sm su tl war",
    "Dravidian": "kn ml ta te",
    "Hmong-Mien": "hmn",
    "Indo-European": "af als an as ast bar be bg bho bn bpy br bs ca co cs cy da de dv el "
    "en es fa fo fr frm fro fur fy ga gd gl goh got grc gsw gu gv hi hr hsb ht hy hyw is it kea "
    "ks ku ckb la lb lij lmo lt ltg lv mai mk mr nb nds ne nl nn no oc or os pa pap pcm pl pms pt "
    "ps ro ru sa sc scn sco sd si sk sl sq sr srn sv szl tg tpi uk ur vec yi pnb orv xcl cu",
    "Japonic": "ja ryu",
    "Kartvelian": "ka",
    "Koreanic": "ko",
    "Mande": "bm",
    "Mongolic-Khitan": "mn bxr",
    "Quechuan": "qu quy quz",
    "Sino-Tibetan": "zh yue wuu lzh bo dz kac lus mni my new",
    "Tai-Kadai": "lo shn th",
    "Tupian": "gn gub",
    "Turkic": "az azb ba crh cv kk ky tk tr tt ug uz sah",
    "Uralic": "et fi hu krl kpv mdf myv olo se koi",
    "Uto-Aztecan": "nah",
    "Basque": "eu",
    "Artificial Language": "eo io vo ia tlh",
}
FAMILIES = {
    parsed.language: family
    for family, codes in _FAMILIES.items()
    for parsed in map(parse, codes.split())
    if parsed
}
