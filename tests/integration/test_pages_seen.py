"""How the pages of kwapi-rrd are seen in real Chromium: dark, on a phone, large, by keyboard, by who has to know."""

import json
import re
import time
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.integration.browser import served
from tests.integration.pages import LAB, RACK, await_graph, fill, names
from tests.messages import health

pytestmark = pytest.mark.integration
SHIFTS = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    resolve(list.getEntries().map((entry) => [
      entry.value, entry.sources.map((source) => source.node?.outerHTML?.slice(0, 200)),
    ]));
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve([]), 300);
})"""


@pytest.fixture
def site(tmp_path):
    with served(tmp_path / "rrd") as pages:
        yield pages


def test_dark_mode_is_followed(open_page, site):
    fill(site)
    page = open_page(color_scheme="dark")
    graph = page.locator("[data-probe='web-1'] .graph")
    await_graph(graph)
    assert "dark=1" in graph.locator("picture img").evaluate("image => image.currentSrc")
    light = site.address + graph.locator("picture img").get_attribute("src")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    expect(graph.locator(".fresh")).to_have_count(1)
    page.emulate_media(color_scheme="light")
    expect(graph.locator("picture img")).to_have_js_property("currentSrc", light)
    await_graph(graph)
    expect(graph.locator(".fresh")).to_have_count(0)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


@pytest.mark.parametrize("path", ["/last/minute/", "/last/minute/?view=table&group=site", "/probe/web-1/", "/nothing"])
def test_a_page_fits_on_a_phone(open_page, site, path):
    fill(site)
    page = open_page("/last/day/", width=390, height=844, device_scale_factor=3, is_mobile=True, has_touch=True)
    page.problems.clear() if path == "/nothing" else None
    page.goto(site.address + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#periods").evaluate("periods => periods.scrollWidth <= periods.clientWidth")
    if path == "/nothing":
        page.problems.clear()  # that there is no such page
        return
    for graph in page.locator(".graph").all()[:2]:
        graph.scroll_into_view_if_needed()
        await_graph(graph)
        source = graph.locator("picture img").evaluate("image => image.currentSrc")
        assert "width=428" in source and "zoom=2" in source
    small = page.locator("a:not(.skip):visible, button:visible, select:visible, input:visible").evaluate_all(
        "all => all.map((one) => one.closest('label') ?? one).filter((one) => one.getBoundingClientRect().height < 18)"
        ".map((one) => one.outerHTML)"
    )
    assert small == []


@pytest.mark.parametrize("width", [900, 1200, 1390])
def test_the_table_is_whole_on_a_desk_and_nothing_in_it_is_cut(open_page, site, width):
    fill(site)
    page = open_page("/last/minute/?view=table&group=site&sort=watts", width=width, height=600)
    assert page.locator(".scroll").evaluate_all("all => all.every((one) => one.scrollWidth <= one.clientWidth)")
    cells = "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent.trim())"
    assert page.locator(".probes td, .probes th").evaluate_all(cells) == []


def test_a_thousand_probes_open_at_once_and_nothing_moves(open_page, site):
    for rack in range(25):
        watts = {f"node-{rack}-{place}": 100.0 + rack + place for place in range(40)}
        site.measure(watts, f"lyon.pdu{rack}", ago=2)
        site.measure(watts, f"lyon.pdu{rack}")
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    expect(page.locator(".card.probe")).to_have_count(1000)
    expect(page.locator("#pager")).to_be_hidden()
    expect(page.locator("#measured")).to_have_text("1000 of 1000 probes measured")
    await_graph(page.locator("#summary .graph"))
    assert page.evaluate(SHIFTS) == []
    last = page.locator(".card.probe").last
    last.scroll_into_view_if_needed()
    await_graph(last.locator(".graph"))
    page.mouse.wheel(0, -20_000)
    expect(page.locator(".card.probe").nth(900)).not_to_be_in_viewport()
    assert page.evaluate(SHIFTS) == []
    assert len({path for path in asked if path.startswith("/graph/")}) < 200


def test_everything_can_be_done_by_keyboard_alone(open_page, site):
    fill(site)
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the probes")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("db")
    expect(page.locator(".card.probe")).to_have_count(1)
    graph = page.locator("[data-probe='db-1'] .graph")
    reached = []
    while not graph.evaluate("graph => graph === document.activeElement"):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
        assert len(reached) < 30, reached
    expect(graph).to_have_attribute("aria-valuetext", re.compile("240.5 W"))
    newest = graph.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowLeft")
    expect(graph).not_to_have_attribute("aria-valuetext", newest)
    expect(graph.locator(".told")).to_have_text(re.compile("240.5 W"))
    page.keyboard.press("End")
    expect(graph).to_have_attribute("aria-valuetext", newest)
    page.keyboard.press("Escape")
    expect(graph.locator(".told")).to_have_count(0)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Choose db-1")).to_be_checked()


def test_the_pointer_reads_time_and_watts_from_a_graph(open_page, site):
    site.measure({"web-1": 50.0}, ago=60)
    for ago in range(59, 29, -1):
        site.measure({"web-1": 50.0}, ago=ago)
    for ago in range(29, -1, -1):
        site.measure({"web-1": 200.0}, ago=ago)
    page = open_page()
    graph = page.locator("[data-probe='web-1'] .graph")
    await_graph(graph)
    with page.expect_response("**/data/minute/web-1/**") as answered:
        graph.hover(position={"x": 300, "y": 50})
    values = answered.value.json()
    plot, rows = values["plot"], values["rows"]
    for ago, watts in ((50, "50.00 W"), (10, "200.0 W")):
        time = rows[-1][0] - ago
        x = plot["left"] + (time - 0.5 - plot["start"]) / (plot["end"] - plot["start"]) * plot["width"]
        graph.hover(position={"x": x, "y": 50})
        expect(graph.locator(".told")).to_contain_text(watts)
        written = page.evaluate("time => new Date(time * 1000).toLocaleTimeString(undefined)", time)
        expect(graph.locator(".told")).to_contain_text(written)
    page.mouse.move(5, 5)
    expect(graph.locator(".told")).to_have_count(0)


def test_a_stale_probe_is_told_in_words_and_colour(open_page, site):
    fill(site)
    page = open_page()
    page.clock.install()
    page.reload()
    state = page.locator("[data-probe='web-1'] .state")
    expect(state).to_have_text("up")
    good = state.evaluate("state => getComputedStyle(state).color")
    site.skipped = 30
    site.measure(LAB, "nancy.lab")
    page.clock.run_for(5500)
    expect(state).to_have_text("stale")
    assert state.evaluate("state => getComputedStyle(state).color") != good
    expect(page.locator("[data-probe='web-1'] .since")).to_contain_text("last measured")
    expect(page.locator("[data-probe='web-1'] .watts")).to_have_text("-")
    expect(page.locator("[data-probe='lab-1'] .state")).to_have_text("up")
    expect(page.locator("#summary")).to_contain_text("2 of 5 probes measured")
    page.get_by_role("link", name="3 stale").click()
    assert names(page) == ["db-1", "web-1", "web-2"]
    site.measure(RACK)
    page.clock.run_for(5500)
    expect(page.locator(".nothing")).to_contain_text("No probe is like that.")


def test_a_reason_that_a_card_has_no_room_for_is_read_where_the_pointer_stands(open_page, site):
    fill(site)
    page = open_page()
    page.clock.install()
    page.reload()
    since = page.locator("[data-probe='web-1'] .since")
    expect(page.locator("[data-probe='web-1'] .state")).to_have_text("up")
    site.skipped = 30
    site.measure(LAB, "nancy.lab")
    now, reason = time.time(), "no answer to 3 requests, " * 9
    site.store.add_health(health(wattmeter="lyon.pdu1", state="down", reason=reason, since=now - 30, timestamp=now))
    page.clock.run_for(5500)
    expect(since).to_have_attribute("title", reason)
    page.reload()
    expect(since).to_have_attribute("title", reason)


def test_numbers_and_times_are_written_as_the_reader_writes_them(open_page, site):
    fill(site)
    page = open_page(locale="de-DE", timezone_id="Asia/Tokyo")
    expect(page.locator("[data-probe='web-1'] .watts")).to_have_text("118,2 W")
    there = page.evaluate(
        "new Date().toLocaleTimeString('de-DE', {timeZone: 'Asia/Tokyo', hour: '2-digit'}).slice(0, 2)"
    )
    expect(page.locator("#clock")).to_have_text(re.compile(f"^{there}:"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_to_complain_of(open_page, site, scheme, width):
    page = open_page(color_scheme=scheme, width=width)
    found = {"first visit": axe(page)}
    fill(site)
    site.measure({"feed": 500.0, "plug": 90.0}, "nancy.pdu2", ["inlet", "outlet"], ago=40)
    for path in (
        "/last/minute/",
        "/last/day/?group=site&probe=web-1&choosing=1",
        "/last/hour/?view=table&sort=watts",
        "/last/hour/?view=table&group=wattmeter",
        "/last/minute/?q=nobody",
        "/probe/feed/",
        "/nothing",
    ):
        page.goto(site.address + path)
        if path == "/nothing":
            page.problems.clear()  # that there is no such page
        else:
            expect(page.locator("#clock")).not_to_be_empty()
        found[path] = axe(page)
    assert {path: violations for path, violations in found.items() if violations} == {}


def axe(page):
    options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    response = Axe().run(page, options=options).response
    return [
        (violation["id"], [json.dumps(node["target"]) + node["failureSummary"] for node in violation["nodes"][:3]])
        for violation in response["violations"]
    ]
