"""Which probes of a wattmeter are shown by messages that came before their turn, while what was missed still comes."""

from collections.abc import Mapping

from kwapi.measurement import Message
from kwapi.plugins.api.probe import Early, Probe


class Ahead:
    """The probes that one wattmeter's early messages show, since it began to catch up; for the thread of the bus."""

    def __init__(self) -> None:
        self._early: Early | None = None  # that the last message is in
        self._listing = 0  # in which its probes were looked up
        self._probes: dict[str, Probe] = {}

    def show(self, message: Message, heard_at: float, probes: Mapping[str, Probe], listing: int) -> None:
        """Show what a message says until it is forgotten; another listing is one of other probes."""
        early = self._early
        if early is not None:
            newest, _ = early.shown
            if message.boot == newest.boot and message.seq < newest.seq:
                return  # by another forwarder
            if listing == self._listing and message.probes == newest.probes:
                early.shown = message, heard_at
                return
        self._early, self._listing = Early(message, heard_at), listing
        for place, name in enumerate(message.probes):
            probe = probes.get(name)
            if probe is not None and probe.wattmeter == message.wattmeter:
                probe.early = self._early, place
                self._probes[name] = probe

    def forget(self) -> None:
        """Show the probes as they are counted."""
        for probe in self._probes.values():
            probe.early = None
