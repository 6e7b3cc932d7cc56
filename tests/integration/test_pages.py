"""The pages of kwapi-rrd in real Chromium."""

import json
import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from kwapi.plugins.rrd.login import Login, Passwords, password_line
from tests.integration.browser import chromium, served
from tests.messages import health

pytestmark = pytest.mark.integration
expect.set_options(timeout=30_000)  # ms; as for everything that is waited for
RACK = {"web-1": 118.2, "web-2": 97.0, "db-1": 240.5}
LAB = {"lab-1": 60.0, "lab-2": 61.0}
SHIFTS = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    resolve(list.getEntries().map((entry) => [
      entry.value, entry.sources.map((source) => source.node?.outerHTML?.slice(0, 200)),
    ]));
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve([]), 300);
})"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def site(tmp_path):
    with served(tmp_path / "rrd") as pages:
        yield pages


@pytest.fixture
def open_page(browser, site):
    """Open a page in a window of its own; nothing may go wrong in it, and it may ask nobody else."""
    contexts, problems = [], []

    def open_at(path="/last/minute/", *, width=1400, height=900, served_by=site, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((served_by.address, "blob:")) else problems.append(request.url)
            ),
        )
        page.problems = problems
        page.goto(served_by.address + path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert problems == []


def fill(site):
    site.fill(RACK)
    site.fill(LAB, "nancy.lab")


def names(page):
    return page.locator(".probe[data-probe]").evaluate_all("all => all.map((one) => one.dataset.probe)")


def query(page):
    return parse_qs(urlsplit(page.url).query)


def await_graph(graph):
    """Wait until a graph's picture is there."""
    expect(graph.locator("picture img")).to_have_js_property("complete", True)
    assert graph.locator("picture img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_the_first_visit_says_what_to_do_and_shows_probes_as_soon_as_there_are_some(open_page, site):
    page = open_page()
    page.clock.install()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("No measurement yet")
    expect(page.locator("#first")).to_contain_text("Nothing has come from tcp://127.0.0.1:5556")
    expect(page.locator("#first")).to_contain_text("kwapi discover")
    fill(site)
    page.clock.run_for(5500)
    expect(page.locator(".card.probe")).to_have_count(5)


def test_numbers_and_graphs_are_renewed_in_place(open_page, site):
    fill(site)
    page = open_page()
    page.clock.install()
    page.reload()
    card = page.locator("[data-probe='web-1']")
    expect(card.locator(".watts")).to_have_text("118.2 W")
    expect(page.locator("#summary > header .watts")).to_have_text("576.7 W")
    await_graph(card.locator(".graph"))
    expect(card.locator(".fresh")).to_have_count(1)
    before = card.locator(".graph").get_attribute("data-mark")
    # Whenever anything is painted, a picture is there.
    page.evaluate(
        """() => {
          window.blank = 0;
          const graph = document.querySelector("[data-probe='web-1'] .graph");
          new MutationObserver(() => {
            const shown = [...graph.querySelectorAll("img")].at(-1);
            if (!shown.complete || !shown.naturalWidth) window.blank += 1;
          }).observe(graph, { childList: true });
        }"""
    )
    site.measure({**RACK, "web-1": 410.0})
    page.clock.run_for(5500)
    expect(card.locator(".watts")).to_have_text("410.0 W")
    expect(page.locator("#summary > header .watts")).to_have_text("868.5 W")
    expect(card.locator(".graph")).not_to_have_attribute("data-mark", before)
    expect(card.locator(".fresh")).to_have_count(1)
    assert page.evaluate("window.blank") == 0


def test_nothing_is_asked_for_while_nobody_looks(open_page, site):
    fill(site)
    page = open_page()
    page.clock.install()
    page.reload()
    expect(page.locator("#clock")).not_to_be_empty()
    page.wait_for_load_state("networkidle")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_request("**/live?**"):
        page.evaluate(hide, False)


def test_probes_are_chosen_and_the_view_is_sent_to_somebody(open_page, site):
    fill(site)
    page = open_page("/last/hour/")
    assert names(page) == ["db-1", "lab-1", "lab-2", "web-1", "web-2"]
    expect(page.locator("#chosen")).to_be_hidden()
    page.get_by_label("Choose lab-1").check()
    page.get_by_role("searchbox").fill("web-2")
    expect(page.locator(".card.probe")).to_have_count(1)
    page.get_by_label("Choose web-2").check()
    expect(page.locator("#chosen")).to_contain_text("2 chosen")
    page.get_by_role("searchbox").fill("")
    expect(page.locator(".card.probe")).to_have_count(5)
    expect(page.get_by_label("Choose lab-1")).to_be_checked()
    assert query(page) == {"probe": ["lab-1", "web-2"], "choosing": ["1"]}
    page.reload()
    expect(page.locator("#chosen")).to_contain_text("2 chosen")
    page.get_by_role("button", name="Show only these").click()
    page.wait_for_url("**/last/hour/?probe=lab-1&probe=web-2")
    there = open_page(page.url.removeprefix(site.address))
    for view in (page, there):
        assert names(view) == ["lab-1", "web-2"]
        expect(view.get_by_role("heading", level=1)).to_have_text("Chosen probes")
        expect(view.locator("#summary > header .watts")).to_have_text("157.0 W")
        await_graph(view.locator("#summary .graph"))
    there.get_by_role("link", name="Choose others").click()
    expect(there.locator(".card.probe")).to_have_count(5)
    expect(there.get_by_label("Choose web-2")).to_be_checked()
    there.get_by_role("link", name="day").click()
    there.wait_for_url("**/last/day/?**")
    assert query(there) == {"probe": ["lab-1", "web-2"], "choosing": ["1"]}


def test_search_group_and_sort_change_the_view_and_its_address(open_page, site):
    fill(site)
    page = open_page()
    page.get_by_role("searchbox").fill("web")
    expect(page.locator(".card.probe")).to_have_count(2)
    expect(page.get_by_role("heading", level=1)).to_have_text("Found probes")
    assert query(page) == {"q": ["web"]}
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("searchbox").fill("")
    expect(page.locator(".card.probe")).to_have_count(5)
    page.get_by_label("Group", exact=True).select_option("By site")
    expect(page.locator(".group h2")).to_have_text(["lyon", "nancy"])
    expect(page.locator(".group .watts")).to_have_text(["455.7 W", "121.0 W"])
    page.get_by_label("Sort", exact=True).select_option("By watts now")
    expect(page.locator(".card.probe h3")).to_have_text(["db-1", "web-1", "web-2", "lab-2", "lab-1"])
    page.get_by_label("Site", exact=True).select_option("nancy")
    expect(page.locator(".card.probe")).to_have_count(2)
    assert query(page) == {"site": ["nancy"], "group": ["site"], "sort": ["watts"]}
    page.get_by_role("link", name="Table").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("th[aria-sort]")).to_have_text("Watts now")


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


def test_without_a_script_the_page_is_whole_and_has_pages(open_page, site):
    site.fill({f"node-{number}": 100.0 + number for number in range(130)}, step=30)
    page = open_page(java_script_enabled=False)
    expect(page.locator(".card.probe")).to_have_count(100)
    graph = page.locator(".graph img").first
    expect(graph).to_have_attribute("src", re.compile(r"^/graph/minute\.png\?bare=1"))
    assert page.request.get(site.address + graph.get_attribute("src")).headers["content-type"] == "image/png"
    page.get_by_role("link", name="Next 30").click()
    expect(page.locator(".card.probe")).to_have_count(30)
    assert query(page) == {"first": ["100"]}
    page.get_by_role("searchbox").fill("node-12")
    page.get_by_label("Sort", exact=True).select_option("By watts now")
    page.get_by_role("button", name="Show", exact=True).click()
    assert names(page) == [*(f"node-{number}" for number in range(129, 119, -1)), "node-12"]
    page.get_by_label("Choose node-120").check()
    page.get_by_label("Choose node-12", exact=True).check()
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Show only these").click()
    assert names(page) == ["node-120", "node-12"]
    page.get_by_role("link", name="Table").click()
    expect(page.locator("tbody tr")).to_have_count(2)


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


def test_times_are_those_below_the_graphs_wherever_the_reader_is(open_page, tmp_path):
    with served(tmp_path / "far", zone="Asia/Kolkata") as far:  # half an hour off most others
        fill(far)
        page = open_page("/probe/web-1/", served_by=far, locale="en-GB", timezone_id="America/Lima")
        expect(page.locator("#clock")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d (GMT\+5:30|IST)$"))
        first = page.locator("main time")
        there = first.evaluate(
            "time => new Date(time.dateTime).toLocaleTimeString('en-GB', {timeZone: 'Asia/Kolkata'})"
        )
        expect(first).to_contain_text(there)
        page.close()
        page = open_page("/probe/web-1/", served_by=far, locale="en-GB", timezone_id="Asia/Kolkata")
        expect(page.locator("#clock")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
        page.close()
    with served(tmp_path / "odd", zone="CET-1CEST") as odd:  # a zone of the server that browsers have no name for
        fill(odd)
        page = open_page(served_by=odd, timezone_id="Asia/Tokyo")
        expect(page.locator("#clock")).not_to_be_empty()
        page.close()


def test_a_server_that_is_gone_is_told(open_page, site):
    fill(site)
    page = open_page()
    page.clock.install()
    page.reload()
    expect(page.locator("#clock")).not_to_be_empty()
    page.wait_for_load_state("networkidle")
    site.stop()
    page.clock.run_for(5500)
    expect(page.get_by_role("status")).to_contain_text("no answer since")
    page.problems.clear()  # that nobody answers


def test_a_login_opens_the_pages_and_all_that_they_load(open_page, tmp_path):
    users = tmp_path / "users"
    users.write_text(password_line("alice", "tea"))
    with served(tmp_path / "locked", login=Login(Passwords(users))) as locked:
        fill(locked)
        page = open_page(served_by=locked, path="/healthz")
        refused = page.request.get(f"{locked.address}/last/minute/")
        assert refused.status == 401 and "This page asks for a name and a password." in refused.text()
        page = open_page(served_by=locked, http_credentials={"username": "alice", "password": "tea"})
        expect(page.locator(".card.probe")).to_have_count(5)
        await_graph(page.locator("[data-probe='web-1'] .graph"))
        expect(page.locator("#clock")).not_to_be_empty()
        page.problems.clear()  # that the browser was refused before it gave the password


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
