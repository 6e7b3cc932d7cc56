"""Cross-origin requests: pages of the origins that an operator lists may read; without a list none may.

Outside of everything else, since a browser asks beforehand (OPTIONS) without a token.
Source: Fetch Standard, 3.3 CORS protocol.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
ASKED_BEFOREHAND = (
    ("Access-Control-Allow-Methods", "GET, HEAD"),
    ("Access-Control-Allow-Headers", "X-Auth-Token, If-None-Match, Last-Event-ID"),
    ("Access-Control-Max-Age", "600"),
)


def allow_origins(application: Application, origins: Collection[str]) -> Application:
    """Return the application, readable by pages of these origins (such as https://example.org)."""
    if not origins:
        return application

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN")
        allowed = [("Access-Control-Allow-Origin", origin)] if origin in origins else []

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            exposed = [("Access-Control-Expose-Headers", "ETag, Retry-After")] if allowed else []
            return start_response(status, [*headers, ("Vary", "Origin"), *allowed, *exposed], *rest)

        if allowed and environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            start_response("204 No Content", [("Vary", "Origin"), *allowed, *ASKED_BEFOREHAND])
            return []
        return application(environ, start)

    return answer
