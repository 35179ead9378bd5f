"""The averages over languages that the field reports."""

from collections.abc import Collection, Mapping

from jaxlt.errors import UserError


def members(
    languages: Collection[str],
    *,
    source: str | Collection[str] = (),
    seen: Collection[str] | None = None,
    families: Mapping[str, str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Returns the languages of each group, in the order given; groups without any are left out.

    "all"; "without_source" (what was transferred to); "seen" and "unseen" by `seen`, the languages
    of pretraining; "family/<name>" by `families` ("family/none" where it names none). All but
    "all" leave the source out.
    """
    if not languages:
        raise UserError("There are no scores to average: the collection of languages is empty.")
    sources = {source} if isinstance(source, str) else set(source)
    targets = [language for language in languages if language not in sources]
    groups = {"all": list(languages), "without_source": targets}
    if seen is not None:
        groups["seen"] = [language for language in targets if language in seen]
        groups["unseen"] = [language for language in targets if language not in seen]
    if families is not None:
        names = {language: families.get(language, "none") for language in targets}
        for family in sorted(set(names.values())):
            groups[f"family/{family}"] = [each for each in targets if names[each] == family]
    return {name: tuple(group) for name, group in groups.items() if group}


def averages(
    values: Mapping[str, float],
    *,
    source: str | Collection[str] = (),
    seen: Collection[str] | None = None,
    families: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Scores by language -> their mean in each group, every language worth the same.

    With families there is also "families", the mean of their means: large families weigh no more.
    """
    groups = members(values, source=source, seen=seen, families=families)
    means = {name: sum(values[each] for each in of) / len(of) for name, of in groups.items()}
    by_family = [mean for name, mean in means.items() if name.startswith("family/")]
    return means | ({"families": sum(by_family) / len(by_family)} if by_family else {})
