"""The wattmeters whose probes go in step, and what is kept of them. For the thread of the bus."""

from collections.abc import Sequence

from kwapi.energy import Instant
from kwapi.measurement import Message
from kwapi.plugins.api.columns import Columns, are_in_step
from kwapi.plugins.api.listing import Listing
from kwapi.plugins.api.probe import Probe
from kwapi.plugins.api.registers import Registers


class Steps:
    """Columns by wattmeter; what they count is written before anybody is told."""

    def __init__(self, registers: Registers | None) -> None:
        self._registers = registers
        self._columns: dict[str, Columns] = {}

    def __len__(self) -> int:
        return len(self._columns)

    def count(self, message: Message, at: Instant, heard_at: float, max_gap: float) -> bool:
        """Count a message if its wattmeter goes in step, and the message is like the one before; return whether."""
        columns = self._columns.get(message.wattmeter)
        if columns is None or (now := columns.count(message, at, heard_at, max_gap)) is None:
            return False
        if self._registers is not None:
            self._registers.columns.write(columns, now)
        columns.now = now
        return True

    def begin(
        self, message: Message, at: Instant, probes: Sequence[Probe | None], heard_at: float, listing: Listing
    ) -> None:
        """Count the messages that follow in columns if the probes of this one have fallen into step by it."""
        if not (are_in_step(probes, message, at) and listing.has_all(message.probes)):
            return
        columns = Columns(message, at, probes, heard_at)
        if self._registers is None or self._registers.columns.begin(columns):
            columns.begin()
            listing.follow(columns)
            self._columns[message.wattmeter] = columns

    def settle(self, wattmeter: str) -> Columns | None:
        """Let the probes of a wattmeter stand each for itself; return the columns if there were any."""
        if (columns := self._columns.pop(wattmeter, None)) is None:
            return None
        columns.settle()
        if self._registers is not None:
            self._registers.take_over(columns)
        return columns
