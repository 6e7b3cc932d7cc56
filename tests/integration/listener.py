"""A subscriber in a thread of its own, which keeps all that it hears."""

import threading
from collections.abc import Callable

from kwapi.bus import Subscriber
from kwapi.health import Health
from kwapi.measurement import Message


class Listener:
    """Keeps every message and every health message, unless there is another place for them."""

    def __init__(
        self,
        subscriber: Subscriber,
        *,
        add: Callable[[Message], None] | None = None,
        add_health: Callable[[Health], None] | None = None,
    ) -> None:
        self.messages: list[Message] = []
        self.healths: list[Health] = []
        self.gate = subscriber.gate
        self._stop = threading.Event()
        arguments = (self._stop, add or self.messages.append, add_health or self.healths.append)
        self._thread = threading.Thread(target=subscriber.run, args=arguments, daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def wattmeters(self, since: int = 0) -> set[str]:
        """Return whose messages were heard, from the message of this number on."""
        return {message.wattmeter for message in self.messages[since:]}

    def of(self, wattmeter: str) -> list[Message]:
        """Return the messages of one wattmeter."""
        return [message for message in self.messages if message.wattmeter == wattmeter]
