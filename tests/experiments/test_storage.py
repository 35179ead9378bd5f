"""Registers: exclusive, whole, and clear about what does not work."""

import errno
import os
import threading
from pathlib import Path

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments.storage import Register, Unwritable, is_full


def test_the_first_wins_and_the_highest_counts(tmp_path: Path) -> None:
    register = Register(tmp_path / "result")
    assert register.newest() is None and register.generations() == []
    assert register.put(1, {"attempt": 1})
    assert not register.put(1, {"attempt": 9})
    assert register.put(3, {"attempt": 2}) and register.add({"attempt": 4}) == 4
    assert register.newest() == (4, {"attempt": 4}, "")
    assert register.read(1).record == {"attempt": 1}
    assert [p.name for p in sorted(register.folder.iterdir())] == [
        f"{number:06d}.json" for number in (1, 3, 4)
    ]


def test_of_many_at_once_one_is_first(tmp_path: Path) -> None:
    register, first = Register(tmp_path), []
    barrier = threading.Barrier(8)

    def race(who: int) -> None:
        for generation in range(1, 11):
            barrier.wait()
            if register.put(generation, {"who": who}):
                first.append((generation, who))

    threads = [threading.Thread(target=race, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(g for g, _ in first) == list(range(1, 11))
    assert all(register.read(g).record == {"who": who} for g, who in first)


def test_nfs_that_lost_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(draft: Path, path: Path) -> None:
        link(draft, path)
        link(draft, path)

    monkeypatch.setattr(os, "link", twice)
    assert Register(tmp_path).put(1, {}) and not Register(tmp_path).put(1, {})


@pytest.mark.parametrize("content", [b"", b'{"attempt": 1', b"[1]", b"\xff"])
def test_a_damaged_record_says_so(tmp_path: Path, content: bytes) -> None:
    register = Register(tmp_path)
    register.path(2).write_bytes(content)
    entry = register.newest()
    assert entry is not None and entry.generation == 2 and entry.record == {}
    assert f"'{register.path(2)}' is damaged" in entry.damage
    assert register.put(3, {"attempt": 2}) and register.newest() == (3, {"attempt": 2}, "")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    register = Register(tmp_path / "lease")
    with pytest.raises(Unwritable, match="cannot be written: No space left on device"):
        register.put(1, {})
    assert list(register.folder.iterdir()) == []
    assert is_full(OSError(errno.EDQUOT, "quota")) and not is_full(ValueError("no"))


def test_a_disk_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with pytest.raises(UserError, match="hard links"):
        Register(tmp_path).put(1, {})


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "result").write_text("a file")
    with pytest.raises(Unwritable, match="result/x' cannot be written: "):
        Register(tmp_path / "result" / "x").put(1, {})
