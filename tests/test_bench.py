"""The benchmark's wattmeters tell ordinary clients what they should, and what it counts is right."""

import socket
from dataclasses import replace
from threading import Thread

import pytest
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto.api import v2c

from bench import api, bmc, collector, farm, graphs, nats, pdu, repair, rrd, spool
from bench.agents import agents
from bench.traffic import Client
from kwapi.drivers.ipmi.driver import Ipmi
from kwapi.drivers.snmp.driver import Snmp
from kwapi.errors import CredentialsRefused
from kwapi.gate import Gate
from kwapi.measurement import Measurement
from kwapi.signing import KeyRing
from tests.integration.programs import needed_program
from tests.messages import KEY, message

OIDS = [(*pdu.DEVICE, 1, 1), (*pdu.DEVICE, 5, 48), (*pdu.DEVICE, 6, 1)]
OUTLETS = [f"server-{number}" for number in range(1, pdu.OUTLETS + 1)]


def opened(driver, port, probes, **options):
    values = {option.dest: option.default for option in driver.options}
    values |= {"host": "127.0.0.1", "port": port, "probes": probes, "interval": 1.0, **options}
    opened = driver("wattmeter", values, driver.open_shared())
    opened.open()
    return opened


def test_every_pdu_gives_the_240_values_that_it_has(tmp_path):
    pdu.write_profile(tmp_path)
    watts, volt_amperes, millivolts, milliamps, watt_hours = pdu.counts(48)
    with agents("snmp", 2) as (ports, _):
        for port in ports:
            driver = opened(Snmp, port, OUTLETS, slow_interval=0.0, profile_dir=str(tmp_path))
            first, second = driver.read(), driver.read()
            driver.close_shared(driver.shared)
            assert first == second
            assert len(first) == pdu.OUTLETS
            assert first[47] == Measurement(
                "server-48",
                watts=watts,
                volt_amperes=volt_amperes,
                volts=millivolts / 1000,
                amps=milliamps / 1000,
                kwh=watt_hours / 1000,
                level="outlet",
            )


@pytest.mark.parametrize("identity", [1, 200, 70_000, 2**31 - 1])
def test_an_answer_has_the_id_of_its_request_whatever_its_length(identity):
    device = pdu.Pdu()
    for number in (identity, identity - 1):  # the second is made of the first
        request = v2c.GetRequestPDU()
        v2c.apiPDU.set_defaults(request)
        v2c.apiPDU.set_request_id(request, number)
        v2c.apiPDU.set_varbinds(request, [(oid, v2c.Null("")) for oid in OIDS])
        message = v2c.Message()
        v2c.apiMessage.set_defaults(message)
        v2c.apiMessage.set_pdu(message, request)
        answer, rest = decoder.decode(device.answer(encoder.encode(message)), asn1Spec=v2c.Message())
        found = v2c.apiMessage.get_pdu(answer)
        values = [value for _, value in v2c.apiPDU.get_varbinds(found)]
        assert (rest, int(v2c.apiPDU.get_request_id(found))) == (b"", number)
        assert [int(value) for value in values[:2]] == [pdu.counts(1)[0], pdu.counts(48)[4]]
        assert isinstance(values[2], v2c.NoSuchInstance)


def test_a_bmc_is_read_in_a_session_and_its_power_changes():
    user, password = bmc.USER.decode(), bmc.PASSWORD.decode()
    with agents("ipmi", 2) as (ports, _):
        for port in ports:
            driver = opened(Ipmi, port, ["server-1"], user=user, password=password, min_interval=0.0)
            assert [driver.read()[0].watts for _ in range(3)] == [101, 102, 103]
            driver.close_shared(driver.shared)
        driver = opened(Ipmi, ports[0], ["server-1"], user=user, password="wrong")
        with pytest.raises(CredentialsRefused):
            driver.read()
        driver.close_shared(driver.shared)


def measured(*times):
    arrivals = farm.Arrivals(Gate(KeyRing([KEY])))
    for at in times:
        arrivals.add(message(monotonic=at, probes=["a", "b"], w=[1.0, None]))
    return arrivals


@pytest.mark.parametrize(
    ("times", "arrived", "missed"),
    [
        ((9.5, 10.5, 11.5, 12.5), 3, 0),
        ((9.5, 10.6, 11.4, 12.5), 3, 0),
        ((9.5, 12.5), 1, 2),
        ((9.5, 10.5), 1, 2),
        ((9.5, 10.5, 11.5, 12.5, 13.5), 3, 0),
        ((9.99, 10.99, 11.99, 13.001), 2, 0),
    ],
)
def test_polls_that_did_not_arrive_are_counted(times, arrived, missed):
    arrivals = measured(*times)
    figures = farm.polls(arrivals, 1.0, 10.0, 13.0)
    assert (figures["polls arrived"], figures["polls missed"]) == (arrived, missed)
    assert arrivals.values == len(times)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "option", "values"), [("snmp", "slow_interval = 0", 240 * 2), ("ipmi", "min_interval = 0", 2)]
)
def test_a_small_farm_is_measured(name, option, values, monkeypatch):
    monkeypatch.delenv("KWAPI_RECORDINGS", raising=False)  # no option, of which the daemon would warn
    scenario = farm.scenarios(2, 2)[name]
    fast = replace(scenario, interval=0.2, options=f"{scenario.options}{option}\n")
    figures = farm.run(fast, seconds=1.0, warm_up=0.0)
    assert figures["polls arrived"] > 0
    assert figures["values in a second"] > values
    assert figures["warnings in the log"] == figures["messages lost or refused"] == 0


def test_the_collector_is_measured(capsys):
    assert collector.main(["--probes", "96", "--seconds", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 10
    assert all(float(row.split()[-2 if row[-1].isalpha() or row[-1] == "%" else -1]) >= 0 for row in rows)


def test_the_store_of_rrd_files_is_measured(capsys, tmp_path):
    assert rrd.main(["--probes", "96", "--flushes", "1", "--directory", str(tmp_path)]) == 0
    rows = dict(row.rsplit("  ", 1) for row in capsys.readouterr().out.splitlines())
    assert len(rows) == 10
    assert all(float(value.split()[0]) >= 0 for value in rows.values())
    assert list(tmp_path.iterdir()) == []


def test_what_a_spool_costs_is_measured(capsys, tmp_path):
    """Whether the bounds hold a busy machine does not say."""
    options = ["--wattmeters", "20", "--rate", "1000", "--turns", "1", "--seconds", "0.5"]
    assert spool.main([*options, "--directory", str(tmp_path)]) in (0, 1)
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert len(rows) == 16
    (kept,) = [int(row[-1]) for row in rows if row[:2] == ["frames", "kept"]]
    assert kept >= 500 and ["frames", "dropped", "0"] in rows
    assert list(tmp_path.iterdir()) == []


def test_what_reading_a_spool_costs_is_measured(capsys, tmp_path):
    assert repair.main(["--wattmeters", "20", "--seconds", "30", "--size", "16", "--directory", str(tmp_path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 15
    assert [row.split()[-3:] for row in rows if "messages repaired" in row] == [
        ["60", "of", "60"],
        ["600", "of", "600"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_nats_costs_is_measured(capsys, tmp_path):
    needed_program("nats-server", "nats-server")
    small = ["--wattmeters", "20", "--rate", "1000", "--seconds", "1", "--missed-rate", "100", "--missed-seconds", "20"]
    nats.main([*small, "--directory", str(tmp_path)])  # whether a bound holds depends on what else the machine does
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[-3:] for row in rows if "stored, of those sent" in row] == [["1000", "of", "1000"]] * 2
    assert [row.split()[-3:] for row in rows if "messages got" in row] == [["1900", "of", "1900"]]
    assert list(tmp_path.iterdir()) == []


def test_the_graphs_are_measured(capsys, tmp_path):
    assert graphs.main(["--probes", "96", "--rounds", "1", "--directory", str(tmp_path)]) == 0
    rows = dict(row.rsplit("  ", 1) for row in capsys.readouterr().out.splitlines())
    sizes = {what.split(":")[0]: float(value.split()[0]) for what, value in rows.items() if value.endswith(" kB")}
    assert len(sizes) == 8 and 1 < sizes["graph of a probe"] <= 12 and 1 < sizes["summary"] <= 24
    assert len(rows) == 2 * len(sizes) + 10
    assert list(tmp_path.iterdir()) == []


def test_a_pause_is_how_much_later_a_message_was_taken_than_heard():
    heard = {f"pdu {number}": (1.0 + number / 100, 5.0) for number in range(100)} | {"pdu 100": (3.0, 5.0)}
    taken = {key: (at + 0.001, cpu) for key, (at, cpu) in heard.items()} | {
        "pdu 7": (1.09, 5.012),
        "pdu 100": (9.0, 9.0),
    }
    assert api.pauses(taken, heard, {"rest": (1.0, 2.0)}) == {
        "pause of ingestion, rest: 99 of 100 within, ms": pytest.approx(20.0),
        "pause of ingestion, rest: longest, ms": pytest.approx(20.0),
        "pause of ingestion, rest: most CPU used in one, ms": pytest.approx(12.0),
    }


def test_a_client_reads_answers_whole_and_keeps_its_connection():
    body = b"x" * 3_000_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(listener.getsockname()[1], "/v1/probes/")
        connection, _ = listener.accept()

        def answer():
            for _ in range(2):
                assert connection.recv(1000).startswith(b"GET /v1/probes/ HTTP/1.1\r\n")
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        server = Thread(target=answer)
        server.start()
        for _ in range(2):
            client.ask()
        server.join(10)
        assert client.answers == 2
        client.close()
        connection.close()
