"""Files that a crash leaves whole."""

import os
import stat
from pathlib import Path

import pytest

from considerate.store.files import drafted


@pytest.mark.parametrize("private", [True, False])
def test_a_draft_is_whole_before_it_takes_its_place(tmp_path: Path, private: bool) -> None:
    path = tmp_path / "new" / "file"
    with drafted(path, b"content", private=private) as draft:
        assert draft.parent == path.parent
        assert draft.read_bytes() == b"content"
        assert not path.exists()
        os.replace(draft, path)
    assert path.read_bytes() == b"content"
    assert os.listdir(path.parent) == ["file"]
    modes = [stat.S_IMODE(one.stat().st_mode) & 0o077 for one in (path, path.parent)]
    assert (modes == [0, 0]) is private


def test_of_two_that_are_linked_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with drafted(path, b"first", private=True) as draft:
        os.link(draft, path)
    with pytest.raises(FileExistsError), drafted(path, b"second", private=True) as draft:
        os.link(draft, path)
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_a_draft_that_is_put_nowhere_is_gone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), drafted(tmp_path / "file", b"content", private=True):
        raise RuntimeError
    assert os.listdir(tmp_path) == []
