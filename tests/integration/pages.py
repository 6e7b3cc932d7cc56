"""What tests do with the pages of kwapi-rrd: fill them, and look at them."""

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

expect.set_options(timeout=30_000)  # ms; as for everything that is waited for
RACK = {"web-1": 118.2, "web-2": 97.0, "db-1": 240.5}
LAB = {"lab-1": 60.0, "lab-2": 61.0}


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
