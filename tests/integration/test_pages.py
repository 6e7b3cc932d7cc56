"""The pages of kwapi-rrd in real Chromium."""

import re

import pytest
from playwright.sync_api import expect

from kwapi.plugins.rrd.login import Login, Passwords, password_line
from tests.integration.browser import served
from tests.integration.pages import RACK, await_graph, fill, names, query

pytestmark = pytest.mark.integration


@pytest.fixture
def site(tmp_path):
    with served(tmp_path / "rrd") as pages:
        yield pages


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
    # The row of a second is whole, and drawn, once a later second was measured; within the second of fill() none is.
    site.measure({**RACK, "web-1": 410.0}, ago=-1.0)
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
