"""Descent of words: the shares that were asked for are the shares that are measured."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.synth.concepts import affixes, concepts
from jaxlt.data.synth.lexicon import CHANGES, lexicon, shared, sound_changes
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.errors import UserError

ANCESTOR = LanguageSpec("proto_Latn", cognates=1.0, changes=0)


@settings(max_examples=15, deadline=None)
@given(
    cognates=st.floats(0, 0.6), false=st.floats(0, 0.3), changes=st.integers(0, 16), n=st.integers()
)
def test_cognates_and_false_friends_are_as_many_as_asked_for(cognates, false, changes, n):
    spec = LanguageSpec(
        f"d{abs(n)}_Latn",
        parent=ANCESTOR,
        cognates=cognates,
        false_friends=false,
        changes=changes,
    )
    same, misleading = shared(lexicon(spec), lexicon(ANCESTOR))
    assert same == pytest.approx(cognates, abs=0.003)
    assert misleading == pytest.approx(false, abs=0.006)


def test_sisters_have_the_smaller_share_in_common():
    one, two = (lexicon(LanguageSpec(f"x{int(10 * c)}_Latn", cognates=c)) for c in (0.3, 0.8))
    assert shared(one, two)[0] == pytest.approx(0.3, abs=0.003)
    stranger = lexicon(LanguageSpec("far_Latn", family=1, cognates=1.0))
    assert shared(two, stranger) == (0, 0)


def test_false_friends_look_alike_and_differ_in_meaning():
    spec = LanguageSpec("f_Latn", parent=ANCESTOR, cognates=0.5, false_friends=0.2, changes=0)
    own, other = lexicon(spec).roots, lexicon(ANCESTOR).roots
    forms = {root.sounds: name for name, root in other.items()}
    misleading = [n for n, r in own.items() if forms.get(r.sounds, n) != n]
    assert len(misleading) == pytest.approx(0.2 * len(own), abs=2)
    kinds = [concepts()[n].upos == concepts()[forms[own[n].sounds]].upos for n in misleading]
    assert sum(kinds) > 0.8 * len(kinds)


def test_loans_are_the_donors_own_words():
    donor = LanguageSpec("donor_Latn", family=5, cognates=1.0, changes=0)
    spec = LanguageSpec("b_Latn", cognates=0.5, borrowed=0.2, donor=donor, changes=3)
    own, lent = lexicon(spec).roots, lexicon(donor).roots
    assert sum(own[n].etymon == lent[n].etymon for n in own) == round(0.2 * len(own))
    assert sum(own[n].sounds == lent[n].sounds for n in own) > 0.19 * len(own)


def test_roots_are_words_apart_whatever_the_sounds_do():
    for changes in (0, 8, 16):
        roots = lexicon(LanguageSpec(f"y{changes}_Latn", cognates=1.0, changes=changes)).roots
        assert set(roots) == set(concepts())
        assert len({r.sounds for r in roots.values()}) == len(roots)
        assert all(r.sounds for r in roots.values())


def test_sound_changes_are_regular_and_relatives_still_sound_alike():
    spec = LanguageSpec("r_Latn", cognates=1.0, changes=4)
    before, after = lexicon(ANCESTOR).roots, lexicon(spec).roots
    numbers = sound_changes(spec)
    assert len(numbers) == 4 and max(numbers) < len(CHANGES)
    same_start = sum(before[n].sounds[:2] == after[n].sounds[:2] for n in before)
    assert 0.4 < same_start / len(before) <= 1
    assert before != after
    assert set(lexicon(spec).affixes) == set(affixes())


def test_another_seed_is_another_world_of_words():
    one, two = lexicon(ANCESTOR).roots, lexicon(replace(ANCESTOR, seed=1)).roots
    assert sum(one[n].sounds == two[n].sounds for n in one) < 10


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"order": "SVX"}, "order is one of"),
        ({"cognates": 2.0}, "cognates is a share"),
        ({"cognates": 0.8, "false_friends": 0.3}, "sum to 1 at most"),
        ({"borrowed": 0.1}, "need a donor"),
        ({"mixed": 0.1}, "need.* a partner"),
        ({"script": "Cyril"}, "there is no script 'Cyril'.*Did you mean 'Cyrl'"),
        ({"changes": 99}, "changes is a whole number"),
        ({"adjective": "left"}, "adjective is 'before' or 'after'"),
    ],
)
def test_impossible_specs_are_refused(settings, told):
    with pytest.raises(UserError, match=f"Language 'a_Latn'.*{told}"):
        LanguageSpec("a_Latn", **settings)
