"""Caches that follow the files of a case."""

import os
from pathlib import Path

import pytest
from monai.data import PersistentDataset

from common.caching import FileHash


@pytest.fixture
def case(tmp_path):
    (tmp_path / "series").mkdir()
    for name in ("image.nii.gz", "label.nii.gz", "series/1.dcm"):
        (tmp_path / name).write_text("first")
    return {"image": str(tmp_path / "series"), "label": str(tmp_path / "label.nii.gz"), "case": "1", "age": 60}


def test_the_same_case_has_the_same_hash(case):
    assert FileHash()(case) == FileHash()(dict(reversed(case.items())))


def test_a_long_text_an_empty_one_and_a_broken_link_are_no_files(case, tmp_path):
    (tmp_path / "series" / "lost.dcm").symlink_to(tmp_path / "nowhere")
    entry = case | {"note": "calcified " * 1000, "centerline": ""}
    assert FileHash()(entry) == FileHash()(dict(entry))


def test_another_entry_has_another_hash(case):
    assert FileHash()(case) != FileHash()(case | {"case": "2"})


@pytest.mark.parametrize("name", ["label.nii.gz", "series/1.dcm"])
def test_a_file_that_changed_changes_the_hash(case, tmp_path, name):
    before = FileHash()(case)
    (tmp_path / name).write_text("second")
    assert FileHash()(case) != before


def test_a_file_of_the_same_size_that_was_written_later_changes_the_hash(case, tmp_path):
    before = FileHash()(case)
    os.utime(tmp_path / "label.nii.gz", ns=(1, 1))
    assert FileHash()(case) != before


def test_a_corrected_label_is_not_served_from_the_cache(case, tmp_path):
    def read(item):
        return Path(item["label"]).read_text()

    def load():
        options = {"cache_dir": tmp_path / "cache", "hash_func": FileHash(), "weights_only": False}
        return PersistentDataset([case], read, **options)[0]

    assert load() == "first"
    (tmp_path / "label.nii.gz").write_text("corrected")
    assert load() == "corrected"
