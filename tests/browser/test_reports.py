"""A structured report in the side panel: a table of what it says."""

from __future__ import annotations

from typing import Any

ROWS = [
    ["Diameter", "12.5 ± 0.25 mm", "90 %"],
    ["Volume", "1022.5 mm³", ""],
    ["Nodule", "", "75 %"],
    ["Probability of benign", "0.625", ""],
    ["Aorta", "", "50 %"],
]


def table(page: Any) -> list[list[str]]:
    page.wait_for_selector("[data-report] table.findings")
    return page.evaluate(
        "[...document.querySelectorAll('table.findings tr')].map("
        "r => [...r.children].map(c => c.innerText.trim()))"
    )


def test_findings_of_the_study_are_listed_beside_its_pictures(screen: Any) -> None:
    screen.open("findings")
    screen.page.click("[data-panel=measure]")
    assert table(screen.page) == ROWS
    assert screen.page.inner_text("[data-report] h3") == "Sizes"
    screen.shot("findings")


def test_a_report_says_where_its_findings_are(screen: Any) -> None:
    screen.open("findings")
    page = screen.page
    page.click("nav.strip [data-modality=SR]")
    page.wait_for_selector("[data-information=document]:has-text('under Measure')")
    page.click("[data-panel=measure]")
    assert table(page) == ROWS
    assert page.locator("[data-report]").count() == 1
