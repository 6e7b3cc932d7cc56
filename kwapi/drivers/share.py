"""The process that polls a share of the wattmeters: ``python -m kwapi.drivers.share FD``, started by shares.py.

It speaks to its parent over a socket whose descriptor is its argument, in pickles, since both are one program: first
it is given its Orders and says READY, so that all its imports are done; told to go, it polls, and reports at every
tick, whether or not there is news. When the parent is gone it ends.
"""

import logging
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

from kwapi import service
from kwapi.bus import Publisher
from kwapi.drivers.manager import Manager
from kwapi.drivers.mutes import Mutes
from kwapi.drivers.orders import GO, READY, STOP, Orders, Report
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.errors import ConfigError
from kwapi.health import Health

LOG = logging.getLogger(__name__)


def work(connection: Connection, orders: Orders, manager: Manager, told: list[Health]) -> None:
    """Poll until told to stop."""
    while True:
        report = Report()
        if connection.poll(service.TICK):
            order = connection.recv()
            if order == STOP:
                return
            report.changes = manager.reload(order)
        report.is_usable = manager.check()
        report.healths = told.copy()
        told.clear()
        connection.send(report)


def main(argv: Sequence[str]) -> int:
    """Run one share; return its exit status."""
    # The parent alone decides; Ctrl-C and systemd's SIGTERM reach every process of the daemon.
    for number in service.STOP_SIGNALS | service.RELOAD_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(int(argv[1]))
    try:
        orders, wattmeters = connection.recv()
        service.start_logging(orders.log_level, orders.program)
        connection.send(READY)
        if connection.recv() != GO:
            return 0
        return _run(connection, orders, wattmeters)
    except (EOFError, ConnectionError):
        return 0  # the parent is gone


def _run(connection: Connection, orders: Orders, wattmeters: Sequence[Wattmeter]) -> int:
    try:
        publisher = Publisher(orders.endpoint, orders.key, bind=False)
    except ConfigError as error:
        return service.refuse(error)
    told: list[Health] = []

    def tell(health: Health) -> None:
        publisher.tell(health)
        told.append(health)

    manager = Manager(wattmeters, publisher, max_hung=orders.max_hung, mutes=Mutes(orders.mutes), tell=tell)
    try:
        work(connection, orders, manager, told)
    finally:
        manager.stop()
        publisher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
