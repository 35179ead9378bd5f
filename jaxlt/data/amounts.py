"""Doses: how much of each language or task trains, as DataConfig.amounts says it.

    amounts = {"swh_Latn": "10k tokens", "tagging.en_ewt.eng_Latn": "300 examples", "pairs": 0.25}
    amount_of("10k tokens", "swh_Latn")              # '10000 tokens', as a config holds it
    dosed(texts, config.amounts, seed=0)     # the texts, cut; what nobody names is as it was

What is taken of a text is the beginning of its examples in an order that the seed draws: of two
amounts by one seed the smaller is the beginning of the larger.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from jaxlt.data.near import nearest_language
from jaxlt.data.rows.batches import digest, mixed, number_of, permute
from jaxlt.data.rows.views import TokenizedText
from jaxlt.errors import UserError, some_of

Documents = Callable[[], Iterable[bytes]]  # opens one language's text anew
Amount = str | int | float  # '10000 tokens', '300 examples', a number of what rates count, a share
_WRITTEN = re.compile(r"(\d[\d_,]*(?:\.\d+)?) ?([kMG]?) (tokens|examples)|(\d+(?:\.\d+)?) ?%")
_TIMES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def amount_of(amount: object, name: str) -> Amount:
    """Returns the amount of `name` as it is held and hashed, or raises UserError.

    A text is of tokens, of examples or of a hundred ('25%' is 0.25); 1 is one and 1.0 all. None of
    anything ('0 tokens', 0.0) is 0.
    """
    found = _WRITTEN.fullmatch(amount.strip()) if isinstance(amount, str) else None
    if found and found[4]:
        amount = float(found[4]) / 100
    elif found:
        count = float(re.sub("[_,]", "", found[1])) * _TIMES[found[2]]
        if count >= 1 and count.is_integer():
            return f"{int(count)} {found[3]}"
        amount = 0 if count == 0 else amount
    if isinstance(amount, float) and amount != 1 and amount.is_integer():
        amount = int(amount)  # gin's 1e4
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    if is_number and (0 <= amount <= 1 or (isinstance(amount, int) and amount >= 1)):  # type: ignore[operator]
        return amount  # type: ignore[return-value]
    raise UserError(
        f"DataConfig.amounts gives '{name}' {amount!r}: an amount is '10k tokens', '300 examples', "
        "a share of at most 1.0, or a whole number (of tokens of running text, else of examples). "
        "What has 0 does not train, and keeps its id and its evaluation."
    )


def dosed(
    texts: Sequence[TokenizedText],
    amounts: Sequence[tuple[str, Amount]],
    seed: int,
    few: Collection[str] = (),
) -> list[TokenizedText]:
    """Returns the texts, cut to the amounts that are given for them; those of amount 0 are empty.

    few: names of those that TransferConfig.k has cut already; an amount for one is a UserError.
    """
    chosen = _by_text([text for text in texts if text.name not in few], dict(amounts), few)
    out = [cut(t, chosen[t.name], seed) if t.name in chosen else t for t in texts]
    if not any(text.cache.examples for text in out):
        raise UserError(
            f"DataConfig.amounts gives {some_of(sorted(chosen))} 0, and nothing else trains: give "
            "one of them more."
        )
    return out


def dosed_documents(
    read: Mapping[str, Documents],
    texts: Sequence[TokenizedText],
    amounts: Sequence[tuple[str, Amount]],
    seed: int,
) -> dict[str, Documents]:
    """Returns the documents by text's name of those that `dosed` leaves, before any vocabulary.

    A share is of their bytes, with an end each; the last document is whole.
    """
    chosen = _by_text(texts, dict(amounts), ())
    out = {}
    for text in texts:
        documents, amount = read[text.name], chosen.get(text.name, 1.0)
        if amount == 1 and isinstance(amount, float):
            out[text.name] = documents
        elif amount:
            out[text.name] = _beginning(text, documents, amount, seed)
    return out


def _beginning(text: TokenizedText, documents: Documents, amount: Amount, seed: int) -> Documents:
    sizes = np.array([len(document) + 1 for document in documents()], np.int64)
    order = _order(text, len(sizes), seed)
    if isinstance(amount, float):
        ends = np.cumsum(sizes[order])
        taken = int(np.searchsorted(ends, max(int(amount * ends[-1]), 1), "left")) + 1
    elif isinstance(amount, str) and amount.endswith("examples"):
        taken = int(amount.split()[0])
    else:
        raise UserError(
            f"DataConfig.amounts gives '{text.name}' {amount!r} of tokens, which a vocabulary that "
            "is yet to be trained cannot count: say '300 examples', or a share of at most 1.0."
        )
    if taken > len(sizes):
        raise UserError(
            f"DataConfig.amounts asks for {taken:,} examples of '{text.name}', which has "
            f"{len(sizes):,} documents to train on: lower the amount, or hold less out."
        )
    kept = set(order[:taken].tolist())
    return lambda: (one for number, one in enumerate(documents()) if number in kept)


def _by_text(
    texts: Sequence[TokenizedText], amounts: Mapping[str, Amount], few: Collection[str]
) -> dict[str, Amount]:
    """Returns the amount of each text's name: by it, by the way back, by language or by kind."""
    chosen: dict[str, Amount] = {}
    used: set[str] = set()
    known: set[str] = set()
    for text in texts:
        for names in ([text.name], [_back(text)], [text.language, *filter(None, [text.kind])]):
            known.update(names)
            given = [name for name in names if name in amounts]
            used.update(given)
            if len(given) > 1 and text.name not in chosen:
                raise UserError(
                    f"DataConfig.amounts gives '{text.name}' an amount by '{given[0]}' and another "
                    f"by '{given[1]}': give it one of its own, or name languages or kinds alone."
                )
            if given:
                chosen.setdefault(text.name, amounts[given[0]])
    for name in amounts:
        if name not in used:
            more = " TransferConfig.k is the amount of few_shot's targets." if few else ""
            raise UserError(
                f"DataConfig.amounts names '{name}', of which nothing trains; amounts are for "
                f"{some_of(sorted(t.name for t in texts))}.{nearest_language(name, known)}{more}"
            )
    return chosen


def _back(text: TokenizedText) -> str:
    """The name of the direction that reads the same pairs the other way; else the text's own."""
    if not text.ends:
        return text.name
    tail = f".{text.origin}" if text.origin else ""
    for sign in "-:":
        ends = sign.join(text.ends) + tail
        if text.name.endswith(ends):
            return text.name.removesuffix(ends) + sign.join(reversed(text.ends)) + tail
    return text.name


def cut(text: TokenizedText, amount: Amount, seed: int) -> TokenizedText:
    """Returns so much of a text, in the order drawn, under a key of its own.

    Tokens of running text are cut to the token; of examples as many are taken as lie within the
    tokens, one at least. Both directions of a pair of languages have the same pairs.
    """
    numbers, owner = np.unique(text.numbers(), return_inverse=True)
    order = _order(text, len(numbers), seed)
    sizes = np.bincount(owner, np.diff(text.cache.counted.offsets), len(numbers)).astype(np.int64)
    there = {"tokens": text.cache.tokens(), "examples": len(numbers)}
    usual = "tokens" if text.running else "examples"
    if isinstance(amount, str):
        size, unit = int(amount.split()[0]), amount.split()[1]
    elif isinstance(amount, float):
        size, unit = max(int(amount * there[usual]), 1), usual
    else:
        size, unit = amount, usual
    if not size:
        return replace(text.cut(np.zeros(0, np.int64), digest([text.key, "none"])), dosed=True)
    if size > there[unit]:
        raise UserError(
            f"DataConfig.amounts asks for {size:,} {unit} of '{text.name}', which has "
            f"{there['tokens']:,} tokens in {there['examples']:,} examples to train on: lower the "
            "amount, hold less out (DataConfig.held_out), or give it more data."
        )
    taken = size
    if unit == "tokens":
        ends = np.cumsum(sizes[order])
        within = int(np.searchsorted(ends, size, "right"))
        taken = int(np.searchsorted(ends, size, "left")) + 1 if text.running else max(within, 1)
    turn = np.empty(len(numbers), np.int64)
    turn[order] = np.arange(len(numbers))
    rows = np.argsort(turn[owner], kind="stable")
    rows = rows[: int((turn < taken)[owner].sum())]
    out = text.cut(rows, digest([text.key, "amount", size, unit, seed]))
    if text.running and unit == "tokens":
        out = replace(out, cache=out.cache.beginning(size))
    return replace(out, dosed=True)


def _order(text: TokenizedText, count: int, seed: int) -> np.ndarray:
    """Returns the order [count] in which a text's examples are taken."""
    key = mixed(seed, number_of("amounts", *sorted((text.name, _back(text)))))
    return permute(np.arange(count), count, key)
