"""What is known of devices that speak JSON: TOML files, one folder for each driver.

A file holds one or more profiles:

    [name]                what the configuration calls it
    title, source         shown to people; where the facts come from
    page, auth, refused   http: the page to get; basic, digest or query; path that is there when credentials are refused
    [[name.channel]]      a table of channel.py, in the order in which probes are named; of MQTT with its topic,
                          in which {device} is the name of the device
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kwapi.drivers.json.channel import QUANTITIES, Table, parse_path, parse_table
from kwapi.drivers.profiles import read_profiles

CHANNEL_KEYS = {*QUANTITIES, "level", "valid", "topic"}
AUTH = ("basic", "digest", "query")


@dataclass(frozen=True, slots=True)
class JsonProfile:
    """A family of devices."""

    title: str
    source: str
    channel: tuple[Table, ...]
    page: str = "/"
    auth: str = "basic"
    refused: str | None = None


def load(folder: str, directory: str | Path = "") -> dict[str, JsonProfile]:
    """Return the profiles in a folder of Kwapi's and of one more directory, by name; ConfigError with every mistake."""
    entries = read_profiles(folder, directory, _profile_mistakes)
    return {name: JsonProfile(**{**entry, "channel": tuple(entry["channel"])}) for name, entry in entries.items()}


def _profile_mistakes(name: str, entry: object) -> Iterator[str]:
    yield from (f"[{name}] {mistake}" for mistake in _mistakes(entry))


def _mistakes(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "must be a table"
        return
    texts = {key: value for key, value in entry.items() if key != "channel"}
    yield from (f"lacks {key}" for key in ("title", "source", "channel") if key not in entry)
    yield from (f"{key}: unknown key" for key in texts if key not in JsonProfile.__dataclass_fields__)
    yield from (f"{key}: {value!r} is no text" for key, value in texts.items() if not isinstance(value, str))
    if texts.get("auth", AUTH[0]) not in AUTH:
        yield f"auth: {texts['auth']!r} is none of {', '.join(AUTH)}"
    if isinstance(refused := texts.get("refused"), str):
        try:
            parse_path(refused)
        except ValueError as error:
            yield f"refused: {error}"
    channels = entry.get("channel", [])
    if not (isinstance(channels, list) and all(isinstance(table, dict) for table in channels)):
        yield "channel: must be a list of tables"
        return
    for place, table in enumerate(channels, 1):
        yield from (f"channel {place}: {mistake}" for mistake in _table_mistakes(table))


def _table_mistakes(table: dict[str, object]) -> Iterator[str]:
    yield from (f"{key}: unknown key" for key in table if key not in CHANNEL_KEYS)
    if wrong := [key for key, line in table.items() if not isinstance(line, str)]:
        yield from (f"{key}: {table[key]!r} is no text" for key in wrong)
        return
    try:
        parse_table({key: str(line) for key, line in table.items()})
    except ValueError as error:
        yield str(error)
