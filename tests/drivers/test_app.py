import logging

from kwapi.drivers.app import warn_of_intervals
from tests.drivers.test_wattmeter import read


def test_wattmeters_that_are_polled_less_often_than_they_should_be_are_told_in_one_line(tmp_path, caplog):
    bmc = "[{}]\ndriver = ipmi\nhost = h\nuser = u\npassword = p\nprobes = {}\n"
    intervals = {"by default": "", "slow": "interval = 10\n", "one": "interval = 1\n", "two": "interval = 2\n"}
    reader, wattmeters = read(tmp_path, "".join(bmc.format(name, name) + text for name, text in intervals.items()))
    reader.finish()
    assert [each.interval for each in wattmeters] == [5, 10, 5, 5]
    for some in (wattmeters[:2], wattmeters[:3], wattmeters):
        warn_of_intervals(some)
    told = "interval = 1 is less than min_interval; polled every 5 s"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"[one]: {told}"),
        (logging.WARNING, f"[one] and 1 more: {told}"),
    ]
