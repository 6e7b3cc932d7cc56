"""Answers as bytes, encoded once for all who ask for the same of the same moment; with ETag, compressed on request."""

import gzip
import hashlib
import io
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from threading import Lock
from typing import Any

import msgspec
from flask import Response, request

JSON = "application/json"
KEPT = 64  # pages of one generation: as many different requests in 100 ms
SMALLEST_GZIP = 1_000  # bytes; what fits into one packet is sent as it is
SMALLEST_FILE = 1 << 14  # bytes; less is copied sooner than it is wrapped
CHUNK = 500  # values encoded in one go: 0.2 ms, in which no other thread runs
_encode = msgspec.json.Encoder().encode


class Page:
    """The body of an answer, and its type."""

    def __init__(self, body: bytes | bytearray, content_type: str = JSON) -> None:
        self.body = body
        self.content_type = content_type

    # Two threads that ask for one of these at once make it twice, and no harm.

    @cached_property
    def etag(self) -> str:
        """What tells this body from others; of what the standard library has sha1 is fastest on megabytes."""
        return hashlib.sha1(self.body, usedforsecurity=False).hexdigest()[:20]

    @cached_property
    def compressed(self) -> bytes:
        """The body as gzip has it; fast rather than small."""
        return gzip.compress(self.body, compresslevel=1, mtime=0)


class Pages:
    """The pages of the newest generation of what they show, by what was asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._generation: int | None = None
        self._pages: dict[Hashable, Page] = {}

    def get(self, generation: int, key: Hashable, make: Callable[[], Page]) -> Page:
        """Return the page of a generation, or of a newer one; make() makes it if it is the first to be asked for."""
        # Held while the page is made: whoever asks for the same meanwhile would only make it a second time.
        with self._lock:
            if self._generation is None or generation > self._generation:
                self._generation, self._pages = generation, {}
            if (page := self._pages.get(key)) is None:
                page = make()
                if generation == self._generation and len(self._pages) < KEPT:
                    self._pages[key] = page
            return page


def encode_list(values: list[Any], head: bytes = b"", tail: bytes = b"") -> bytes:
    """Return the values as a JSON array between what comes before and after it.

    The encoder lets no other thread run, and neither does a copy, so values are encoded in parts and copied once.
    """
    parts = [_encode(part)[1:-1] for part in _parts(values)]
    return joined(parts, head + b"[", b"]" + tail)


def joined(parts: list[bytes], head: bytes, tail: bytes) -> bytes:
    """Return the parts with commas between them, and what comes before and after; the list is used up."""
    if not parts:
        return head + tail
    parts[0] = head + parts[0]
    parts[-1] += tail
    return b",".join(parts)


def _parts(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


class _View:
    """Bytes as a file that gives out parts of them without a copy; of files it has what wsgi.file_wrapper needs."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._view = memoryview(body)
        self._place = 0

    def read(self, size: int = -1) -> memoryview:
        end = len(self._view) if size < 0 else self._place + size
        part = self._view[self._place : end]
        self._place += len(part)
        return part

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._view)}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._view.release()


def body_answer(body: bytes | bytearray, content_type: str) -> Response:
    """Return an answer with a body that many share; a large one goes to the socket without a copy, if the server can.

    A copy of a megabyte lets no other thread run, and waitress would make several.
    """
    wrap = request.environ.get("wsgi.file_wrapper")
    if wrap is None or len(body) < SMALLEST_FILE:
        return Response(bytes(body), content_type=content_type)
    response = Response(wrap(_View(body)), content_type=content_type, direct_passthrough=True)
    response.content_length = len(body)
    return response


def answer(page: Page) -> Response:
    """Return the answer to the current request: 304 if the client has the page already, compressed if it likes that."""
    if request.if_none_match.contains_weak(page.etag):
        response = Response(status=304)
        del response.headers["Content-Type"]
    elif len(page.body) >= SMALLEST_GZIP and request.accept_encodings.quality("gzip") > 0:
        response = body_answer(page.compressed, page.content_type)
        response.headers["Content-Encoding"] = "gzip"
    else:
        response = body_answer(page.body, page.content_type)
    # Weak, since one tag stands for the body as it is and for the compressed one.
    response.set_etag(page.etag, weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept-Encoding"
    return response
