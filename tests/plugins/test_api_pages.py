import gzip
from threading import Barrier, Thread

import msgspec
import pytest
from flask import Flask

from kwapi.plugins.api.pages import Page, Pages, answer, encode_list


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1700])
def test_values_encoded_in_parts_are_those_encoded_at_once(count):
    values = [{"id": f"Ünï-{number}", "w": number / 7, "v": None} for number in range(count)]
    assert encode_list(values) == msgspec.json.encode(values)


def test_a_page_is_made_once_for_all_who_ask_for_it():
    pages, made, barrier = Pages(), [], Barrier(4)

    def ask():
        barrier.wait(5)
        pages.get(1, "all", lambda: made.append(True) or Page(b""))

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert made == [True]


def test_a_page_of_another_query_or_generation_is_another():
    pages, old, new = Pages(), Page(b"old"), Page(b"new")
    assert pages.get(1, "all", lambda: old) is old
    assert pages.get(1, "some", lambda: new) is new
    assert pages.get(1, "all", lambda: new) is old
    assert pages.get(2, "all", lambda: new) is new


def test_a_reader_that_is_late_gets_the_newer_page_and_leaves_no_older_one():
    pages, old, new = Pages(), Page(b"old"), Page(b"new")
    pages.get(2, "all", lambda: new)
    assert pages.get(1, "all", lambda: old) is new
    assert pages.get(1, "some", lambda: old) is old
    assert pages.get(2, "some", lambda: new) is new


def test_no_more_pages_are_kept_than_memory_allows():
    pages = Pages()
    for number in range(1000):
        pages.get(1, number, lambda: Page(b"x"))
    kept = pages.get(1, 0, lambda: Page(b"y")).body, pages.get(1, 999, lambda: Page(b"y")).body
    assert kept == (b"x", b"y")


@pytest.fixture
def client():
    app = Flask(__name__)
    page = Page(b'{"w": 1.5}' * 1000)
    app.add_url_rule("/", view_func=lambda: answer(page), endpoint="big")
    app.add_url_rule("/small", view_func=lambda: answer(Page(b"{}")), endpoint="small")
    return app.test_client()


def test_a_page_the_client_has_is_not_sent_again(client):
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert client.get("/", headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize(
    ("path", "accepted", "encoding"),
    [
        ("/", "gzip", "gzip"),
        ("/", "br, gzip;q=0.5", "gzip"),
        ("/", "*", "gzip"),
        ("/", "gzip;q=0", None),
        ("/", "identity", None),
        ("/", "", None),
        ("/small", "gzip", None),
    ],
)
def test_a_page_is_compressed_for_those_who_like_that(client, path, accepted, encoding):
    found = client.get(path, headers={"Accept-Encoding": accepted})
    assert found.headers.get("Content-Encoding") == encoding
    assert found.headers["Vary"] == "Accept-Encoding"
    assert (gzip.decompress(found.data) if encoding else found.data) == client.get(path).data
