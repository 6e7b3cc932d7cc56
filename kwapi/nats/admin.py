"""What a person does with a NATS server: one connection, one question."""

import asyncio
from typing import NamedTuple

from nats.errors import Error
from nats.js.errors import APIError, NotFoundError

from kwapi.endpoints import servers_of
from kwapi.errors import ConfigError
from kwapi.nats.connection import NO_JETSTREAM, PATIENCE, connected
from kwapi.nats.layout import Layout
from kwapi.nats.login import Login


class Found(NamedTuple):
    """Whether a stream was made; if it was there, what is wrong with it, and in what it is not as asked for."""

    is_new: bool
    faults: list[str]
    differences: list[str]


async def init(endpoint: str, login: Login, layout: Layout) -> Found:
    """Make a stream or look at the one that is there."""
    problem = ""
    for server in servers_of(endpoint):
        try:
            async with asyncio.timeout(2 * PATIENCE), connected(server, login) as client:
                stream = client.jetstream(timeout=PATIENCE)
                try:
                    found = (await stream.stream_info(layout.name)).config
                except NotFoundError:
                    await stream.add_stream(layout.config())
                    return Found(True, [], [])
                return Found(False, list(layout.faults(found)), list(layout.differences(found)))
        except APIError as error:
            return Found(False, [f"it cannot be made: {error.description or NO_JETSTREAM}"], [])
        except (OSError, Error, TimeoutError, ConfigError) as error:
            problem = f"{server}: {str(error) or 'it does not answer'}"
    return Found(False, [problem], [])
