"""How the API says that something is wrong: problem details (RFC 9457), in version 1 as it always did."""

import logging

import msgspec
from flask import Response, request
from werkzeug.exceptions import HTTPException, InternalServerError

from kwapi.plugins.api.schemas import Problem

LOG = logging.getLogger(__name__)
PROBLEM_TYPE = "application/problem+json"
_encode = msgspec.json.Encoder().encode


def error_answer(error: Exception) -> Response:
    """Return any error as JSON; one of ours is logged with its traceback and shown without."""
    if not isinstance(error, HTTPException):
        LOG.error("a request failed by an error of ours", exc_info=error)
        error = InternalServerError("an error of the server; its log has the details")
    response = Response()
    response.headers = error.get_response().headers  # which methods are allowed, where to go, when to come again
    response.status_code = status = error.code or 500
    words = error.description or error.name
    if request.path.split("/")[1] == "v1":
        response.data = _encode({"error": {"code": status, "message": error.description}})
        response.content_type = "application/json"
    else:
        response.data = problem(status, error.name, words)
        response.content_type = PROBLEM_TYPE
    return response


def problem(status: int, title: str, detail: str) -> bytes:
    """Return problem details as JSON."""
    return _encode(Problem("about:blank", title, status, detail))
