"""kwapi nats, at a real server."""

import pytest
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from kwapi.cli.main import main
from kwapi.nats.layout import HOUR, MEGABYTE, Layout
from tests.nats_server import NatsServer

NAMES = ["--wattmeters", "lyon,paris.rack 1"]


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path, stream=False) as server:
        yield server


@pytest.fixture
def conf(tmp_path, server):
    path = tmp_path / "api.conf"
    path.write_text(f"[DEFAULT]\nprobes_endpoint = {server.endpoint}\n")
    return path


def init(conf, *arguments):
    return main(["nats", "init", "--config-file", str(conf), *arguments])


async def make(client, config):
    await client.jetstream().add_stream(config)


def test_a_stream_is_made_as_asked_for_and_found_so_after_that(server, conf, capsys):
    asked_for = ["--hours", "6", "--megabytes", "100", "--window", "30", *NAMES]
    assert init(conf, *asked_for) == 0
    found = server.info().config
    assert (found.max_age, found.max_bytes, found.duplicate_window) == (6 * HOUR, 100 * MEGABYTE, 30)
    assert (found.subjects, found.num_replicas) == (["kwapi.lyon.>", "kwapi.paris.rack%201.>"], 1)
    assert (found.storage, found.retention) == (StorageType.FILE, RetentionPolicy.LIMITS)
    assert capsys.readouterr().out == "made the stream kwapi for kwapi.lyon.>, kwapi.paris.rack%201.>\n"
    assert init(conf, *asked_for) == 0
    assert capsys.readouterr().out == "the stream kwapi is as it should be\n"


def test_in_what_a_stream_differs_is_told_and_nothing_is_changed(server, conf, capsys):
    init(conf)
    assert init(conf, "--hours", "48", "--window", "60") == 1
    told = capsys.readouterr().err
    assert "keeps messages for 24 hours, not 48" in told
    assert "knows messages again for 120 s, not 60" in told
    assert server.info().config.max_age == 24 * HOUR


def test_a_stream_that_would_lose_messages_is_refused(server, conf, capsys):
    server.run(make, StreamConfig(name="kwapi", subjects=["kwapi.lyon.>"], retention=RetentionPolicy.INTEREST))
    assert init(conf) == 2
    told = capsys.readouterr().err
    assert "its subjects are kwapi.lyon.>, without kwapi.>" in told
    assert "each of several readers needs every message" in told


def test_whatever_is_wrong_with_a_stream_is_told():
    wrong = (
        Layout("kwapi")
        .config()
        .evolve(no_ack=True, sealed=True, max_msgs_per_subject=1, max_msg_size=1000, discard="new")
    )
    assert len(list(Layout("kwapi").faults(wrong))) == 5
    assert list(Layout("kwapi").faults(Layout("kwapi").config())) == []
    assert len(list(Layout("kwapi").differences(wrong.evolve(storage="memory", duplicate_window=1.0)))) == 2


def test_more_replicas_than_servers_cannot_be_had(conf, capsys):
    assert init(conf, "--replicas", "3") == 2
    assert "it cannot be made: replicas > 1 not supported in non-clustered mode" in capsys.readouterr().err


def test_a_server_that_is_away_is_told(server, conf, capsys):
    server.kill()
    assert init(conf) == 2
    assert f"{server.endpoint}: " in capsys.readouterr().err


def test_a_file_without_a_nats_server_is_a_mistake(conf, capsys):
    conf.write_text("[DEFAULT]\nprobes_endpoint = tcp://127.0.0.1:5555\n")
    assert init(conf) == 2
    assert "names no NATS server" in capsys.readouterr().err


def test_a_server_without_jetstream_is_told_what_it_needs(tmp_path, capsys):
    with NatsServer(tmp_path, stream=False, options="jetstream: disabled") as server:
        path = tmp_path / "api.conf"
        path.write_text(f"[DEFAULT]\nprobes_endpoint = {server.endpoint}\n")
        assert init(path) == 2
    assert "it runs without JetStream; its configuration needs jetstream { store_dir" in capsys.readouterr().err
