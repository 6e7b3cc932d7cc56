"""The OpenAPI document of version 2 and of what stands beside it, made of the types that the views encode.

Source: OpenAPI Specification 3.1.1; its schemas are JSON Schema 2020-12, as msgspec makes them.
"""

from importlib.metadata import version
from typing import Any

import msgspec

from kwapi.plugins.api import schemas
from kwapi.plugins.api.problems import PROBLEM_TYPE
from kwapi.plugins.api.query import LARGEST_PAGE, PAGE, STATES
from kwapi.plugins.api.stream import EVENT_STREAM

Json = dict[str, Any]
SCHEMAS = "#/components/schemas/"
TYPES = (
    schemas.Probe,
    schemas.ProbePage,
    schemas.EventList,
    schemas.Measurements,
    schemas.Gap,
    schemas.Readiness,
    schemas.Problem,
)
TEXT, OBJECT = {"type": "string"}, {"type": "object"}
FILTERS = (  # name, schema, what it is
    ("wattmeter", TEXT, "A wattmeter's name, or the first parts of a dotted one: lyon takes lyon.pdu1."),
    ("id", {"type": "array", "items": TEXT}, "Id of a probe; may be repeated."),
    ("state", {"type": "string", "enum": list(STATES)}, "State of the probes; all if it is left out."),
)
PAGES = (
    (
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE},
        "How many probes a page has at most.",
    ),
    ("after", TEXT, "Id after which the page begins: of the last probe of the page before."),
)
EVENT = {  # of the stream; OpenAPI 3.1 has no word of its own for this
    "type": "object",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "What the reader may name as Last-Event-ID."},
        "event": {"const": "gap", "description": "Left out where data are Measurements."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [{"$ref": f"{SCHEMAS}Measurements"}, {"$ref": f"{SCHEMAS}Gap"}]},
        },
    },
}
PROBLEMS = {
    "400": "A parameter is unknown, is given twice, or has a value that it may not have.",
    "401": "There is no token, or it is not valid, or no longer.",
    "403": "The token is valid, and its roles do not allow to read.",
    "404": "There is no such probe.",
    "503": "Keystone does not answer, or all streams are taken; Retry-After says when to come again.",
}


def document(*, has_keystone: bool, metrics_public: bool = False) -> Json:
    """Return the document; where Keystone is asked every path of version 2 needs a token, and so may the metrics."""
    _, components = msgspec.json.schema_components(TYPES, ref_template=f"{SCHEMAS}{{name}}")
    operations = _version_2() | _beside()
    for path, operation in operations.items() if has_keystone else ():
        if path.startswith("/v2/") or (path == "/metrics" and not metrics_public):
            operation["security"] = [{"token": []}]
            operation["responses"] |= _problems("401", "403", "503")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kwapi",
            "version": version("kwapi"),
            "summary": "The electric power and energy of every machine",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {path: {"get": operation} for path, operation in operations.items()},
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }


def _version_2() -> dict[str, Json]:
    """Return the operations of version 2 by path."""
    filters = [_parameter("query", *about) for about in FILTERS]
    pages = [_parameter("query", *about) for about in PAGES]
    one = [_parameter("path", "probe", TEXT, "Id of the probe.") | {"required": True}]
    resumed = _parameter("header", "Last-Event-ID", TEXT, "Id of the last event that the reader got.")
    events = {
        "200": {"description": "The events, until the reader goes.", "content": {EVENT_STREAM: {"schema": EVENT}}}
    }
    return {
        "/v2/probes": _operation("All probes, or some", _found("ProbePage") | _problems("400"), *filters, *pages),
        "/v2/probes/{probe}": _operation("One probe", _found("Probe") | _problems("400", "404"), *one),
        "/v2/probes/{probe}/events": _operation(
            "What the energy register of a probe did other than count on",
            _found("EventList") | _problems("400", "404"),
            *one,
        ),
        "/v2/stream": _operation(
            "What is measured, as it comes: server-sent events", events | _problems("400", "503"), *filters, resumed
        ),
        "/v2/openapi.json": _operation("This document", {"200": _answer("The document.", OBJECT)}),
    }


def _beside() -> dict[str, Json]:
    """Return the operations for programs that look after Kwapi, by path."""
    metrics = {kind: {"schema": TEXT} for kind in ("text/plain", "application/openmetrics-text")}
    ready = {"$ref": f"{SCHEMAS}Readiness"}
    return {
        "/metrics": _operation("All for Prometheus", {"200": {"description": "The metrics.", "content": metrics}}),
        "/healthz": _operation(
            "Whether the daemon is alive, and what the bus has counted", {"200": _answer("It is.", OBJECT)}
        ),
        "/readyz": _operation(
            "Whether the daemon can do its work",
            {"200": _answer("It can.", ready), "503": _answer("Something is missing.", ready)},
        ),
    }


def _operation(summary: str, responses: Json, *parameters: Json) -> Json:
    return {"summary": summary, "parameters": list(parameters), "responses": responses}


def _parameter(place: str, name: str, schema: Json, about: str) -> Json:
    return {"name": name, "in": place, "description": about, "schema": schema}


def _answer(about: str, schema: Json, kind: str = "application/json") -> Json:
    return {"description": about, "content": {kind: {"schema": schema}}}


def _found(name: str) -> Json:
    """Return the responses to a request that is right."""
    return {
        "200": _answer("What was asked for.", {"$ref": f"{SCHEMAS}{name}"}),
        "304": {"description": "What If-None-Match names is still right."},
    }


def _problems(*statuses: str) -> Json:
    problem = {"$ref": f"{SCHEMAS}Problem"}
    return {status: _answer(PROBLEMS[status], problem, PROBLEM_TYPE) for status in statuses}
