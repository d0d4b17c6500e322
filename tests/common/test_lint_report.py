"""What shows between cases, and the report of all of them."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from common.datalist import datalist
from common.layouts.case import Case
from common.lint import pool
from common.lint.findings import CaseReport, Finding
from common.lint.report import Report, render_html, write_report
from common.lint.whole import compare_cases, summarize

from . import miniatures
from .miniatures import hounsfield, mask, write


def report(name, image="", label="", **measures):
    return CaseReport(name, measures, image_hash=image or name, label_hash=label)


def compared(reports, sections=None, groups=None):
    sections = {r.name: "training" for r in reports} if sections is None else sections
    return {f.check: f for f in compare_cases(reports, sections, groups or {})}


def test_the_same_image_in_two_sections_is_an_error():
    cases = [report("a", "x"), report("b", "x"), report("c")]
    assert compared(cases)["duplicate image"].severity == "warning"
    found = compared(cases, {"a": "training", "b": "test", "c": "test"})["duplicate image"]
    assert found.severity == "error"
    assert found.cases == ("a", "b")
    assert "in test and training" in found.text


def test_the_same_label_of_different_images_is_a_warning_unless_empty():
    assert compared([report("a", label="m"), report("b", label="m")])["duplicate label"].cases == ("a", "b")
    assert compared([report("a"), report("b")]) == {}
    assert list(compared([report("a", "x", "m"), report("b", "x", "m")])) == ["duplicate image"]


def test_a_patient_in_two_sections_is_an_error():
    sections, groups = {"a": "training", "b": "test"}, {"a": "p", "b": "p"}
    found = compared([report("a"), report("b")], sections, groups)["split patient"]
    assert found.severity == "error"
    assert "patient p is in test and training" in found.text


def test_a_scan_without_contrast_among_many_with_it_is_named():
    cases = [report(str(n), contrast="none" if n == 3 else "arterial") for n in range(10)]
    assert compared(cases)["contrast"].cases == ("3",)
    assert compared([report(str(n), contrast="none") for n in range(3)])["contrast"].severity == "note"
    assert (
        "2 of 4" in compared([report(str(n), contrast="weak" if n < 2 else "none") for n in range(4)])["contrast"].text
    )


def test_unusual_label_volumes_are_named():
    cases = [report(str(n), label_ml=3.0) for n in range(9)] + [report("big", label_ml=13.0)]
    assert compared(cases)["unusual labels"].cases == ("big",)


def test_the_summary_counts_and_ranges():
    cases = [report("a", label_ml=1.0, shape=[2, 2, 2], contrast="weak"), report("b", label_ml=4.0, shape=[2, 2, 2])]
    cases[1].usable = False
    found = summarize(cases, {"a": "training"})
    assert found["sections"] == {"training": 1}
    assert found["left_out"] == ["b"]
    assert found["shape"] == {"2 x 2 x 2": 2}
    assert found["contrast"] == {"weak": 1}
    assert found["label_ml"] == [1.0, 2.5, 4.0]


class Tags(HTMLParser):
    """Checks that tags are closed, and collects what a page loads."""

    def __init__(self):
        super().__init__()
        self.open, self.loaded, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_and_escapes_names():
    case = report("<b>&1", label_ml=1.5)
    case.thumbnail = b"\x89PNG"
    case.add("error", "empty label", "the label of <b> is empty", "draw it")
    page = render_html(Report("s<e>t", {"layout": "pairs"}, [case], {"<b>&1": "test"}, [Finding("note", "n", "x < y")]))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.loaded == ["data:image/png;base64,iVBORw=="]
    assert "the label of <b> is empty" in tags.text
    assert "x < y" in tags.text
    assert not re.search(r"https?://", page)


def test_findings_of_one_kind_are_one_line_the_worst_first(tmp_path):
    cases = [report(str(n)) for n in range(3)]
    for case in cases:
        case.add("warning", "label pieces", f"pieces of {case.name}")
    cases[2].add("error", "empty label", "empty")
    found = Report("set", {}, cases, {}, [Finding("note", "data set", "n")])
    assert [(f.check, f.cases) for f in found.grouped()] == [
        ("empty label", ("2",)), ("label pieces", ("0", "1", "2")), ("data set", ())
    ]  # fmt: skip
    write_report(tmp_path / "a_lint.html", found)
    content = json.loads((tmp_path / "a_lint.json").read_text())
    assert content["cases"][2]["findings"][1]["check"] == "empty label"


def test_findings_that_say_something_else_are_lines_of_their_own():
    texts = {"a": "a.nii: 3 voxels are NaN", "b": "b.nii: 4 voxels are NaN", "c": "c.nii: shifted by 1024"}
    cases = [CaseReport(name) for name in texts]
    for case in cases:
        case.add("error", "image", texts[case.name])
    notes = [Finding("note", "data set", "2 left out"), Finding("note", "data set", "3 left out")]
    found = Report("set", {}, cases, {}, notes).grouped()
    assert [finding.cases for finding in found] == [("a", "b"), ("c",), (), ()]
    assert [finding.text for finding in found[2:]] == ["2 left out", "3 left out"]


def test_a_set_full_of_defects_is_listed_without_what_cannot_be_loaded(tmp_path, capsys):
    root = tmp_path / "set"
    for n in range(7):
        write(root / "images" / f"{n}.nii.gz", hounsfield(n))
        write(root / "labels" / f"{n}.nii.gz", mask() if n != 5 else 0 * mask())
    write(root / "images" / "6.nii.gz", hounsfield(0))  # the same as 0
    file = root / "images" / "1.nii.gz"
    file.write_bytes(file.read_bytes()[:-100])
    write(root / "labels" / "2.nii.gz", mask()[..., :-1])
    miniatures.centerline(root / "centerlines" / "3.json", frame="LPS")
    datalist(str(root), str(tmp_path / "dataset.json"))
    listed = json.loads((tmp_path / "dataset.json").read_text())["training"]
    assert [case["case"] for case in listed] == ["0", "3", "4", "5", "6"]
    printed = capsys.readouterr().out
    for said in (
        "error: unreadable image [1: 1]",
        "error: geometry [1: 2]",
        "error: centerline [1: 3]",
        "error: empty label [1: 5]",
        "warning: duplicate image [2: 0, 6]",
        "left out of the list (2): 1, 2",
    ):
        assert said in printed


def test_the_report_is_the_same_each_time(tmp_path):
    miniatures.pairs(tmp_path / "set")
    pages = []
    for _ in range(2):
        datalist(str(tmp_path / "set"), str(tmp_path / "dataset.json"))
        pages.append((tmp_path / "dataset_lint.html").read_bytes() + (tmp_path / "dataset_lint.json").read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.slow
def test_several_processes_report_as_one_does(tmp_path, monkeypatch):
    cases = [
        Case(str(n), write(tmp_path / f"{n}.nii.gz", hounsfield(n)), write(tmp_path / f"{n}_l.nii.gz", mask()))
        for n in range(6)
    ]
    alone = pool.inspect_cases(cases, "ct", workers=1)
    monkeypatch.setitem(pool.FEW, "ct", 2)
    assert pool.inspect_cases(cases, "ct", workers=2) == alone
    assert [case.name for case in alone] == [case.name for case in cases]
    assert np.unique([case.image_hash for case in alone]).size == 6
