"""What every daemon tells Prometheus, read as Prometheus does."""

import re
import shutil
from collections import Counter

import pytest
import zmq
from prometheus_client.parser import text_string_to_metric_families

from kwapi import service
from kwapi.config import load
from kwapi.errors import ConfigError
from kwapi.metrics import DROPPED, bus, connections, messages, metrics_page, metrics_tasks, process, spool_sources
from kwapi.questions import HELLO, encode
from kwapi.spool.keeping import Keeping
from kwapi.stream import Account
from kwapi.transport import transport_of
from tests.messages import frame
from tests.ports import free_port
from tests.test_layers import ROOT
from tests.waiting import eventually

MIB = 1 << 20


def samples_of(*sources):
    """Return {(name, labels): value} of a page."""
    body = b"".join(metrics_page(*sources)({"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics"}, lambda *_: None))
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def configured(directory, **options):
    lines = {"probes_endpoint": f"ipc://{directory}/bus", "state_dir": directory, **options}
    path = directory / "forwarder.conf"
    path.write_text("\n".join(["[DEFAULT]", *(f"{name} = {value}" for name, value in lines.items()), ""]))
    return load("forwarder", [path])


@pytest.fixture
def conf(tmp_path):
    return configured(tmp_path, spool_dir=tmp_path / "spool", spool_size=16, replay_endpoint=f"ipc://{tmp_path}/replay")


@pytest.fixture
def keeping(conf):
    keeping = Keeping(conf, transport_of(conf))
    for task in keeping.tasks:
        task.start()
    yield keeping
    service.stop(keeping.tasks)


def test_connections_that_did_not_come_about_are_counted_by_reason_and_those_that_did_are_none():
    assert samples_of(lambda: connections(Counter(refused=3))) == {
        ("kwapi_bus_connections_failed_total", ("reason", "refused")): 3,
        ("kwapi_bus_connections_failed_total", ("reason", "failed handshake")): 0,
    }


def test_what_the_bus_counts_is_told():
    counts = {"accepted": 7, "lost": 2, "rejected": {"too old": 3}, "skew": {"lyon.pdu1": -1.5}}
    found = samples_of(lambda: bus(counts, Counter({"web-1": 4})))
    assert {each: value for each, value in found.items() if value} == {
        ("kwapi_bus_messages_total",): 7,
        ("kwapi_bus_lost_total",): 2,
        ("kwapi_bus_rejected_total", ("reason", "too old")): 3,
        ("kwapi_bus_skew_seconds", ("wattmeter", "lyon.pdu1")): -1.5,
        ("kwapi_conflicts_total", ("name", "web-1")): 4,
    }


def test_what_became_of_messages_is_told_by_wattmeter():
    accounts = {b"lyon.pdu1.": Account(7, 1, 2, 3, 4, 5, 6), "dépôt.".encode(): Account(8)}
    found = samples_of(lambda: messages(accounts))
    assert {name: value for (name, *labels), value in found.items() if labels == [("wattmeter", "lyon.pdu1")]} == {
        "kwapi_messages_delivered_total": 7,
        "kwapi_messages_rejected_total": 1,
        "kwapi_messages_lost_total": 2,
        "kwapi_messages_awaited": 3,
        "kwapi_messages_duplicate_total": 4,
        "kwapi_messages_repaired_total": 5,
        "kwapi_messages_unknown_ends": 6,
    }
    assert found["kwapi_messages_delivered_total", ("wattmeter", "dépôt")] == 8


def test_this_process_is_told_by_the_names_that_others_have():
    found = samples_of(process)
    assert found["process_cpu_seconds_total",] > 0 and found["process_resident_memory_bytes",] > MIB
    assert {name for name, *_ in found} >= {"process_open_fds", "process_max_fds", "process_start_time_seconds"}


def test_without_a_spool_nothing_is_told_of_one():
    assert spool_sources(None, 16) == []


def test_a_spool_tells_what_it_keeps_drops_and_how_large_it_is(keeping):
    sources = spool_sources(keeping, 16)
    for seq in range(3):
        keeping.spool.hand(frame(seq=seq))
    keeping.spool.hand(b"no frame")
    eventually(lambda: samples_of(*sources)["kwapi_spool_kept_total",] == 3)
    eventually(lambda: samples_of(*sources)["kwapi_spool_dropped_total", ("reason", "malformed")] == 1)
    found = samples_of(*sources)
    assert found["kwapi_spool_dropped_total", ("reason", "disk")] == 0
    assert found["kwapi_spool_limit_bytes",] == 16 * MIB
    assert 0 < found["kwapi_spool_bytes",] < MIB
    shutil.rmtree(keeping.spool.directory)  # what a broken disk may look like
    assert samples_of(*sources)["kwapi_spool_bytes",] == 0


def test_every_reason_not_to_keep_a_message_begins_with_none():
    code = "".join((ROOT / "kwapi/spool" / f"{name}.py").read_text("utf-8") for name in ("store", "quota"))
    reasons = re.findall(r'dropped\["(.+?)"\] \+=|return "(.+?)"', code)
    assert sorted({given or found for given, found in reasons}) == sorted(DROPPED)


def test_questions_are_told_those_that_are_none_too(keeping, conf):
    sources = spool_sources(keeping, 16)
    assert samples_of(*sources)["kwapi_replay_refused_total", ("client", "")] == 0
    context = zmq.Context()
    try:
        with context.socket(zmq.DEALER) as client:
            client.linger = 0
            client.connect(conf.replay_endpoint)
            client.send_multipart([bytes(8), encode(HELLO)])
            assert client.poll(10_000)
            client.send(b"what?")
            eventually(lambda: samples_of(*sources)["kwapi_replay_refused_total", ("client", "")] == 1)
    finally:
        context.term()
    assert samples_of(*sources)["kwapi_replay_answered_total",] == 1


def test_without_a_port_nobody_listens_and_one_that_is_taken_is_said(tmp_path):
    assert metrics_tasks(configured(tmp_path)) == []
    conf = configured(tmp_path, metrics_port=free_port())
    (task,) = metrics_tasks(conf, process)
    task.start()
    try:
        with pytest.raises(ConfigError, match=f"port {conf.metrics_port}"):
            metrics_tasks(conf)
    finally:
        service.stop([task])
