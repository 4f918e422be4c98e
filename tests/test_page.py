"""report.html in a real browser, headless Chromium, through selenium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from golden_runs import stored_runs

from dxa_tbs.report.build import write_report

GOLDEN = stored_runs()
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
DRIVER = shutil.which("chromedriver") or ""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver on the path"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report") / "outputs"
    shutil.copytree(GOLDEN, root)
    write_report(root)
    return root / "report.html"


@pytest.fixture(params=[1280, 360], ids=["desktop", "phone"])
def browser(request: pytest.FixtureRequest, report: Path) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    size = {"width": request.param, "height": 800, "deviceScaleFactor": 1, "mobile": request.param < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.width_px = request.param
    driver.get(report.as_uri())
    yield driver
    driver.quit()


def test_nothing_is_asked_of_any_network_and_nothing_goes_wrong(browser: Any, report: Path) -> None:
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    sizes = browser.execute_script("return [...document.images].map(image => image.complete && image.naturalWidth)")
    assert len(sizes) >= 5
    assert all(sizes)


def test_the_page_is_no_wider_than_the_screen(browser: Any) -> None:
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= browser.width_px


def test_a_table_sorts_by_number_and_back_and_keeps_its_rows_together(browser: Any) -> None:
    def column(table: str, number: int) -> list[str]:
        script = (
            "return [...document.querySelector(arguments[0]).tBodies].map(b => b.rows[0].cells[arguments[1]].innerText)"
        )
        return list(browser.execute_script(script, f"[data-name={table}]", number))

    def click(table: str, number: int) -> str:
        button = f"document.querySelectorAll('[data-name={table}] thead button')[{number}]"
        return str(browser.execute_script(f"{button}.click(); return {button}.parentElement.ariaSort"))

    before = [float(text.split()[0]) for text in column("overview", 5)]
    assert click("overview", 5) == "ascending"
    assert [float(text.split()[0]) for text in column("overview", 5)] == sorted(before)
    assert click("overview", 5) == "descending"
    assert [float(text.split()[0]) for text in column("overview", 5)] == sorted(before, reverse=True)
    assert click("overview", 0) == "ascending"
    assert column("overview", 0) == sorted(column("overview", 0))

    rows = "return [...document.querySelector('[data-name=table_v]').tBodies].map(b => b.innerText)"
    groups = set(browser.execute_script(rows))
    click("table_v", 10)
    assert set(browser.execute_script(rows)) == groups


def test_all_can_be_reached_by_keyboard_and_printed(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.find_element("css selector", "body").send_keys(Keys.TAB)
    assert browser.execute_script("return document.activeElement.className") == "skip"
    summary = browser.find_element("css selector", "#calibration > summary")
    summary.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.getElementById('calibration').open")
    button = browser.find_element("css selector", "#calibration thead button")
    button.send_keys(Keys.SPACE)
    assert browser.execute_script("return arguments[0].parentElement.ariaSort", button) == "ascending"
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script("return document.querySelectorAll('details:not([open])').length") > 5
    pages = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(pages["data"]) > 100_000


def test_every_text_has_contrast_enough(browser: Any) -> None:
    """WCAG 2 AA: 4.5 to 1, of each text's colour on the nearest background that has one."""
    worst = browser.execute_script("""
        for (const one of document.querySelectorAll('details')) one.open = true;
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
        const behind = (one) => {
            for (; one; one = one.parentElement) {
                const rgb = parse(getComputedStyle(one).backgroundColor);
                if (rgb.length < 4 || rgb[3] > 0) return rgb;
            }
            return [255, 255, 255];
        };
        return Math.min(...[...document.querySelectorAll('body *')]
            .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
            .filter((one) => !['SCRIPT', 'STYLE', 'TITLE'].includes(one.tagName.toUpperCase()))
            .map((one) => {
                const style = getComputedStyle(one), ink = one.closest('svg') ? style.fill : style.color;
                const [a, b] = [light(parse(ink)), light(behind(one))].sort((x, y) => y - x);
                return (a + 0.05) / (b + 0.05);
            }));
    """)
    assert worst >= 4.5
