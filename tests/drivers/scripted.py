"""A driver that does what its script says, and a publisher that keeps what is sent."""

import threading

from kwapi.drivers.base import Driver
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.measurement import Measurement


class Scripted(Driver):
    """Does at each poll what its script says; opens is what opening raises; shared is the list of what it did."""

    script: list
    opens: list

    @classmethod
    def open_shared(cls):
        return []

    @classmethod
    def close_shared(cls, shared):
        shared.append("shared closed")

    def open(self):
        self.shared.append("open")
        if self.opens:
            raise self.opens.pop(0)

    def read(self):
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.shared.append("read")
        if isinstance(step, threading.Event):
            step.wait(20)
            return [Measurement("late", watts=1.0)]
        if isinstance(step, Exception):
            raise step
        return step

    def close(self):
        self.shared.append("close")


class FakePublisher:
    """Keeps what senders publish; refuses is what publishing raises."""

    def __init__(self):
        self.sent, self.told, self.refuses = [], [], []

    def sender(self, wattmeter, interval):
        return FakeSender(self, wattmeter)

    def tell(self, health):
        self.told.append(health)


class FakeSender:
    def __init__(self, publisher, wattmeter):
        self.publisher, self.wattmeter, self.revoked = publisher, wattmeter, False

    def publish(self, measurements, timestamp, monotonic):
        if self.publisher.refuses:
            raise self.publisher.refuses.pop(0)
        if not self.revoked:
            self.publisher.sent.append((self.wattmeter, [each.probe for each in measurements]))
        return not self.revoked

    def revoke(self):
        self.revoked = True


GOOD = [Measurement("taurus-1", watts=100.0)]


def wattmeter(*script, name="pdu1", interval=0.01, hang_timeout=10.0, **values):
    values = {"script": list(script), "opens": [], "probes": ["taurus-1"], **values}
    return Wattmeter(name, Scripted, values, interval, hang_timeout)
