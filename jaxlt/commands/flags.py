"""Flags that several verbs have, and what their texts mean."""

import argparse


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds SOURCE, once or several times."""
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="text by language")


def add_languages(parser: argparse.ArgumentParser) -> None:
    """Adds --languages; `names` reads it."""
    parser.add_argument("--languages", default="", metavar="A,B", help="only these languages")


def add_target(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Adds TARGET, a new folder."""
    parser.add_argument("target", metavar="TARGET", nargs=nargs, help="the new local folder")


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds --overwrite, of a folder TARGET."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace TARGET once the new one is whole"
    )


def names(text: str | None) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b'); nothing for no text."""
    return tuple(name for name in (text or "").split(",") if name)
