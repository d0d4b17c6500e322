"""The report of a data set: JSON for programs, and one HTML page without anything to load for people."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..files import replacing, write_json_file
from .findings import SEVERITIES, CaseReport, Finding
from .whole import summarize

FIGURES = re.compile(r"\S*[\d/\\.]\S*")  # words of a finding that differ from case to case: numbers and files
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1300px;padding:0 16px;color:#1c1c1c}
h1{font-size:22px}h2{font-size:17px;margin-top:28px}table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid #ddd;padding:5px 8px;text-align:left;vertical-align:top}
img{height:160px;display:block;image-rendering:auto}.b{border-radius:3px;padding:1px 6px;color:#fff;font-size:12px}
.error{background:#b3261e}.warning{background:#9a6700}.note{background:#3a6ea5}small{color:#555}
.bar{background:#9bbbd8;height:10px;display:inline-block;vertical-align:middle;margin-right:6px}
dl{display:grid;grid-template-columns:max-content auto;gap:2px 16px}dt{color:#555}dd{margin:0}
@media(prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}td,th{border-color:#333}small,dt{color:#aaa}}
"""
_FILTER = """
<p>Show cases with <select onchange="for(const r of document.querySelectorAll('tr[data-s]'))
r.hidden=this.value&&!r.dataset.s.includes(this.value)"><option value="">anything</option>
<option value="error">errors</option><option value="warning">warnings</option></select></p>
"""


@dataclass(frozen=True)
class Report:
    """All that is said about a data set.

    Attributes:
        name: of the data set.
        facts: by name what was recognised and done, such as "layout".
        cases: a report for each case.
        sections: section of each case in the data list.
        findings: what is the matter with the set as a whole.
    """

    name: str
    facts: Mapping[str, str]
    cases: Sequence[CaseReport]
    sections: Mapping[str, str]
    findings: Sequence[Finding]

    def grouped(self) -> list[Finding]:
        """Return the findings, the worst first; those of cases that differ in figures and files alone are one."""
        kinds: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault((finding.severity, finding.check, finding.text), []).append(finding)
        for finding in (finding for case in self.cases for finding in case.findings):
            kinds.setdefault((finding.severity, finding.check, FIGURES.sub("", finding.text)), []).append(finding)
        ordered = sorted(kinds.values(), key=lambda same: (SEVERITIES.index(same[0].severity), -len(same)))
        return [same[0]._replace(cases=tuple(dict.fromkeys(c for f in same for c in f.cases))) for same in ordered]


def write_report(path: Path, report: Report) -> None:
    """Write ``path`` with the suffixes .html and .json.

    Raises:
        OSError: If a file cannot be written.
    """
    content = {
        "name": report.name,
        **report.facts,
        "summary": summarize(report.cases, report.sections),
        "findings": [finding._asdict() for finding in report.findings],
        "cases": [
            {
                "case": case.name,
                "section": report.sections.get(case.name),
                **case.measures,
                "findings": [{k: v for k, v in f._asdict().items() if k != "cases"} for f in case.findings],
            }
            for case in report.cases
        ],
    }
    write_json_file(path.with_suffix(".json"), content)
    with replacing(path.with_suffix(".html")) as temporary:
        temporary.write_text(render_html(report), encoding="utf-8")


def render_html(report: Report) -> str:
    """Return the page."""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in report.facts.items())
    rows = "".join(_finding_row(finding) for finding in report.grouped())
    found = f"<table><tr><th></th><th>what</th><th>what to do</th><th>cases</th></tr>{rows}</table>"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(report.name)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Data set {escape(report.name)}</h1><dl>{facts}</dl>"
        f"<h2>What was found</h2>{found if rows else '<p>Nothing to mend.</p>'}"
        f"<h2>All cases together</h2><dl>{_overview(summarize(report.cases, report.sections))}</dl>"
        f"<h2>Cases</h2><p><small>CT: the axial slice with the most of the label, and the label from the front over "
        f"the mean of the image. The patient's right is on the left.</small></p>{_FILTER}"
        f"<table><tr><th>case</th><th>picture</th><th>figures</th><th>findings</th></tr>"
        f"{''.join(_case_row(case, report.sections) for case in report.cases)}</table></body></html>\n"
    )


def _finding_row(finding: Finding) -> str:
    listed = ", ".join(finding.cases)
    shown = f"<details><summary>{len(finding.cases)}</summary>{escape(listed)}</details>" if finding.cases else ""
    example = f"<br><small>{escape(finding.cases[0])}:</small> " if len(finding.cases) > 1 else "<br>"
    return (
        f"<tr><td>{_badge(finding)}</td><td><b>{escape(finding.check)}</b>{example}{escape(finding.text)}</td>"
        f"<td>{escape(finding.cure)}</td><td>{shown}</td></tr>"
    )


def _case_row(case: CaseReport, sections: Mapping[str, str]) -> str:
    picture = b64encode(case.thumbnail).decode()
    image = f'<img alt="{escape(case.name)}" src="data:image/png;base64,{picture}">' if picture else ""
    figures = "<br>".join(f"<small>{escape(k.replace('_', ' '))}</small> {_shown(v)}" for k, v in case.measures.items())
    found = "".join(
        f"<p>{_badge(f)} <b>{escape(f.check)}</b> {escape(f.text)}"
        f"{f' <small>{escape(f.cure)}</small>' if f.cure else ''}</p>"
        for f in sorted(case.findings, key=lambda finding: SEVERITIES.index(finding.severity))
    )
    severities = " ".join(sorted({finding.severity for finding in case.findings}))
    return (
        f'<tr data-s="{severities}"><td><b>{escape(case.name)}</b><br><small>'
        f"{escape(sections.get(case.name, 'left out'))}</small></td><td>{image}</td><td>{figures}</td>"
        f"<td>{found}</td></tr>"
    )


def _overview(summary: Mapping[str, Any]) -> str:
    """Return counts as bars, and ranges as numbers."""
    rows = []
    for name, value in summary.items():
        if isinstance(value, dict):
            most = max(value.values(), default=1) or 1
            shown = "".join(
                f'<div><span class="bar" style="width:{round(160 * number / most)}px"></span>{number} '
                f"<small>{escape(str(word))}</small></div>"
                for word, number in value.items()
            )
        elif isinstance(value, list) and value and all(isinstance(number, float) for number in value):
            shown = f"{value[0]:g} <small>to</small> {value[2]:g}<small>, median</small> {value[1]:g}"
        else:
            shown = _shown(value) or "none"
        rows.append(f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{shown}</dd>")
    return "".join(rows)


def _badge(finding: Finding) -> str:
    return f'<span class="b {finding.severity}">{finding.severity}</span>'


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return escape(", ".join(f"{v} {k}" for k, v in value.items()))
    if isinstance(value, list):
        return escape(", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(f"{value:g}" if isinstance(value, float) else str(value))
