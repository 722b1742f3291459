"""Files that people write: read again when they change, and kept as they were while they are broken."""

import os
from pathlib import Path

import pytest

from exporters.declarations import Declaration, read_entries
from exporters.sources import SourceError


def names(path: Path) -> list[str]:
    return [str(entry) for entry in read_entries(path, under="names", help_page="docs/names.md")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "names.yml"
    path.write_text("names: [a, b]\n")
    return path


def test_a_file_is_read_again_when_it_changes_and_only_then(path):
    read: list[Path] = []

    def counted(path: Path) -> list[str]:
        read.append(path)
        return names(path)

    kept = Declaration(path, counted)
    kept.refresh()
    assert (kept.value, len(read)) == (["a", "b"], 1)
    path.write_text("names: [a, b, c]\n")
    kept.refresh()
    kept.refresh()
    assert (kept.value, kept.problem, len(read)) == (["a", "b", "c"], "", 2)


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_date_is_another(path):
    kept = Declaration(path, names)
    before = path.stat()
    other = path.with_name("other.yml")
    other.write_text("names: [c, d]\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    kept.refresh()
    assert kept.value == ["c", "d"]


def test_a_file_that_only_who_holds_it_still_sees_is_told_of_as_replaced(path):
    """As a file that is mounted into a container, where somebody puts another into its place outside."""
    with path.open() as held:
        kept = Declaration(Path(f"/proc/self/fd/{held.fileno()}"), names)
        other = path.with_name("other.yml")
        other.write_text("names: [c]\n")
        other.replace(path)
        kept.refresh()
    assert kept.value == ["a", "b"]
    assert kept.problem.endswith(": replaced outside of this container; restart the exporter to read it")


def test_a_folder_whose_files_are_exchanged_all_at_once_is_seen(tmp_path):
    """As Kubernetes mounts a ConfigMap: each name leads through `..data`, which is turned to another folder."""
    for number, text in enumerate(("names: [a]\n", "names: [b]\n")):
        version = tmp_path / f"..{number}"
        version.mkdir()
        (version / "names.yml").write_text(text)
        os.utime(version / "names.yml", (1.0, 1.0))
    data, path = tmp_path / "..data", tmp_path / "names.yml"
    data.symlink_to("..0")
    path.symlink_to("..data/names.yml")
    kept = Declaration(path, names)
    turned = tmp_path / "..data_tmp"
    turned.symlink_to("..1")
    turned.replace(data)
    kept.refresh()
    assert (kept.value, kept.problem) == (["b"], "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names: [a", "line 1: not YAML"),
        ("names: 3\n", "should be 'names:' and under it a list of entries; see docs/names.md"),
        ("names: [a]\nothers: [b]\n", "should be 'names:'"),
        ("names: [a]\nnames: [b]\n", "line 2: 'names' is there twice"),
        (None, "No such file or directory; name a file of names that this user may read"),
    ],
)
def test_what_a_file_said_holds_while_it_is_broken(path, text, said, caplog):
    kept = Declaration(path, names)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    kept.refresh()
    kept.refresh()
    assert kept.value == ["a", "b"]
    assert kept.problem.startswith(f"{path}: ")
    assert said in kept.problem
    assert [record.message for record in caplog.records] == [
        f"{kept.problem}; what it said before holds until it is mended"
    ]
    path.write_text("names: [e]\n")
    kept.refresh()
    assert (kept.value, kept.problem) == (["e"], "")


def test_a_file_that_is_broken_at_the_start_is_refused(path):
    path.write_bytes(b"names: [\xff]\n")
    with pytest.raises(SourceError, match="not UTF-8; save it as such"):
        Declaration(path, names)
