"""The process that polls a share of the wattmeters: ``python -m kwapi.drivers.share FD``, started by shares.py.

It speaks to its parent over a socket whose descriptor is its argument, in pickles, since both are one program: first
it is given its Orders and says READY, so that all its imports are done; told to go, it polls, and reports at every
tick, whether or not there is news. When the parent is gone it ends.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

from kwapi import logs, service
from kwapi.bus import Publisher
from kwapi.drivers.boots import next_boot
from kwapi.drivers.manager import Manager
from kwapi.drivers.mutes import Mutes
from kwapi.drivers.orders import GO, READY, STOP, Assignment, Orders, Report
from kwapi.errors import ConfigError
from kwapi.health import Health

LOG = logging.getLogger(__name__)


def work(connection: Connection, manager: Manager, told: list[Health]) -> None:
    """Poll until told to stop."""
    while True:
        if connection.poll(service.TICK):
            order = connection.recv()
            if order == STOP:
                return
            logging.getLogger().setLevel(order.log_level)
            manager.reload(order.wattmeters)
        is_usable = manager.check()
        connection.send(Report(told.copy(), is_usable))
        told.clear()


def main(argv: Sequence[str]) -> int:
    """Run one share; return its exit status."""
    # The parent alone decides; Ctrl-C and systemd's SIGTERM reach every process of the daemon.
    for number in service.STOP_SIGNALS | service.RELOAD_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    service.keep_memory_together()
    channel = int(argv[1])
    os.set_inheritable(channel, False)  # what drivers start shall not keep it open
    connection = Connection(channel)
    try:
        orders, assignment = connection.recv()
        logs.start(assignment.log_level, orders.log_format, orders.program)
        # Before it is needed, since what is sent until the subscriptions have come is lost.
        publisher = Publisher(orders.endpoint, orders.keys, boot=next_boot(orders.boots), bind=False)
        try:
            connection.send(READY)
            if connection.recv() == GO:
                _run(connection, orders, assignment, publisher)
        finally:
            publisher.close()
    except ConfigError as error:
        return service.refuse(error)
    except (EOFError, ConnectionError):
        LOG.debug("the daemon is gone")
    return 0


def _run(connection: Connection, orders: Orders, assignment: Assignment, publisher: Publisher) -> None:
    told: list[Health] = []

    def tell(health: Health) -> None:
        publisher.tell(health)
        told.append(health)

    mutes = Mutes(orders.mutes)
    manager = Manager(assignment.wattmeters, publisher, max_hung=orders.max_hung, mutes=mutes, tell=tell)
    try:
        work(connection, manager, told)
    finally:
        manager.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
