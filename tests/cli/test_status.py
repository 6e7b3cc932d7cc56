import json
import re
import sys
import threading
import time

import pytest

from kwapi.bus import Publisher
from kwapi.cli.main import main
from kwapi.cli.status import duration, is_meant, near, rows, severity, summary
from kwapi.keys import make_key_file, read
from kwapi.plugins.positions import Positions
from kwapi.signing import KeyRing
from kwapi.stream import Account, Position
from tests.messages import health
from tests.ports import free_endpoint


def test_the_worst_state_is_the_exit_status():
    assert severity({}) == 3
    assert severity({"a": "up", "b": "muted"}) == 0
    assert severity({"a": "up", "b": "starting"}) == severity({"a": "stale"}) == 1
    assert severity({"a": "stale", "b": "down"}) == severity({"a": "hung"}) == severity({"a": "silent"}) == 2


def test_the_first_line_is_for_nagios():
    line = summary({"a": "up", "b": "up", "c": "down"}, 2, {})
    assert line.startswith("KWAPI CRITICAL - 2 up, 1 down | up=2 starting=0 stale=0 down=1 ")
    assert summary({}, 3, {}).startswith("KWAPI UNKNOWN - no wattmeter was heard of | up=0")
    line = summary({"a": "silent"}, 3, {"unknown key": 7})
    assert line.startswith("KWAPI UNKNOWN - 1 silent; messages dropped: 7 unknown key | up=0")


def test_the_worst_come_first():
    states = {"a": "up", "b": "silent", "c": "down"}
    healths = {"a": health(wattmeter="a"), "c": health(wattmeter="c", state="down", reason="off", poll_seconds=0.12345)}
    found = rows(states, healths, now=1_800_000_000.0)
    assert [row[0] for row in found] == ["b", "c", "a"]
    assert found[1] == ["c", "down", "16m 40s", 0, 0, 0, 0.1235, "off"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3601, "1h 1s"), (90_061, "1d 1h"), (-5, "0s")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_prefix_means_whole_parts_of_names():
    assert is_meant("lyon.pdu1", []) and is_meant("lyon.pdu1", ["lyon"]) and is_meant("lyon.pdu1", ["x", "lyon.pdu1"])
    assert not is_meant("lyon.pdu10", ["lyon.pdu1"])


@pytest.fixture
def site(tmp_path):
    endpoint = free_endpoint()
    path = tmp_path / "drivers.conf"
    path.write_text(
        f"[DEFAULT]\nstate_dir = {tmp_path}\nprobes_endpoint = {endpoint}\n"
        "[lab.a]\ndriver = dummy\nprobes = a\n[lab.b]\ndriver = dummy\nprobes = b\n"
    )
    make_key_file(tmp_path / "signing.key")
    return path, Publisher(endpoint, KeyRing(read(tmp_path / "signing.key").keys))


def tell_until_done(publisher, healths, argv):
    """Run the command while health is told again and again; return its status."""
    done = threading.Event()

    def tell():
        while not done.wait(0.05):
            for each in healths():
                publisher.tell(each)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    status = main(argv)
    done.set()
    teller.join(5)
    publisher.close()
    return status


def now(**fields):
    return health(**{"timestamp": time.time(), "since": time.time() - 5, **fields})


def test_status_hears_the_bus_and_names_who_is_silent(site, capsys):
    path, publisher = site
    argv = ["status", "--config-file", str(path), "--wait", "1"]
    assert tell_until_done(publisher, lambda: [now(wattmeter="lab.a")], argv) == 2
    first, heading, silent, up = capsys.readouterr().out.splitlines()
    assert first.startswith("KWAPI CRITICAL - 1 up, 1 silent | ")
    assert heading.split()[:3] == ["wattmeter", "state", "for"]
    assert (silent.split()[:2], up.split()[:3]) == (["lab.b", "silent"], ["lab.a", "up", "5s"])


def test_status_ends_as_soon_as_all_are_heard(site, capsys):
    path, publisher = site
    argv = ["status", "lab", "--json", "--config-file", str(path), "--wait", "1e9"]
    healths = lambda: [now(wattmeter="lab.a"), now(wattmeter="lab.b", state="muted"), now(wattmeter="other.c")]  # noqa: E731
    assert tell_until_done(publisher, healths, argv) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["wattmeter"], each["state"]) for each in told] == [("lab.a", "up"), ("lab.b", "muted")]


def test_a_farm_of_which_health_is_told_less_often_is_listened_to_for_longer(site, capsys):
    path, publisher = site
    begun = []

    def healths():
        begun.append(time.monotonic())
        late = [now(wattmeter="lab.b")] if begun[-1] - begun[0] > 0.5 else []
        return [now(wattmeter="lab.a", next_within=60.0), *late]

    assert tell_until_done(publisher, healths, ["status", "--config-file", str(path), "--wait", "0.3"]) == 0
    assert capsys.readouterr().out.startswith("KWAPI OK - 2 up | ")


def test_status_shows_what_became_of_messages_as_the_api_of_this_machine_saved_it(site, capsys, tmp_path):
    path, publisher = site
    accounts = {b"lab.a.": Account(7, lost=2), b"lab.b.": Account(9), b"other.c.": Account(1)}
    (tmp_path / "energy").mkdir()
    Positions(tmp_path / "energy" / "positions.json").save({topic: Position(1, 9) for topic in accounts}, accounts)
    argv = ["status", "lab", "--messages", "--config-file", str(path)]
    assert tell_until_done(publisher, lambda: [now(wattmeter="lab.a"), now(wattmeter="lab.b")], argv) == 0
    *_, saved, heading, first, second = capsys.readouterr().out.splitlines()
    assert saved.startswith("messages, as they were saved ")
    assert heading.split()[:3] == ["wattmeter", "produced", "delivered"]
    assert first.split() == ["lab.a", "9", "7", "0", "2", "0", "0", "0", "0"]
    assert second.split() == ["lab.b", "9", "9", "0", "0", "0", "0", "0", "0"]


def test_status_says_where_it_sought_the_accounts_of_messages(site, capsys, caplog, tmp_path):
    path, publisher = site
    publisher.close()
    assert main(["status", "--messages", str(tmp_path / "nothing"), "--config-file", str(path)]) == 3
    assert f"{tmp_path}/nothing" in caplog.text + capsys.readouterr().err


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("tcp://*:5555", "tcp://127.0.0.1:5555"),
        ("tcp://0.0.0.0:5555", "tcp://127.0.0.1:5555"),  # noqa: S104
        ("tcp://[::]:5555", "tcp://[::1]:5555"),
        ("tcp://10.0.0.1:5555", "tcp://10.0.0.1:5555"),
        ("ipc:///run/kwapi/drivers", "ipc:///run/kwapi/drivers"),
    ],
)
def test_who_listens_on_all_addresses_is_near(bound, reached):
    assert near(bound) == reached


def test_a_bus_on_all_addresses_is_heard(site, capsys):
    path, publisher = site
    path.write_text(
        path.read_text().replace("127.0.0.1", "*").replace("[DEFAULT]", "[DEFAULT]\nallow_plaintext = true")
    )
    argv = ["status", "lab.a", "--config-file", str(path)]
    assert tell_until_done(publisher, lambda: [now(wattmeter="lab.a"), now(wattmeter="lab.b")], argv) == 0


def test_of_an_endpoint_that_cannot_be_all_is_unknown(site, capsys):
    path, publisher = site
    publisher.close()
    path.write_text(re.sub(r"tcp://.*", f"ipc:///{'x' * 200}", path.read_text()))
    assert main(["status", "--config-file", str(path), "--wait", "20"]) == 3
    assert "201 bytes long" in capsys.readouterr().err


def test_a_key_that_is_not_the_daemon_s_is_named(site, capsys):
    path, publisher = site
    (path.parent / "signing.key").unlink()
    make_key_file(path.parent / "signing.key")
    argv = ["status", "--config-file", str(path), "--wait", "1"]
    assert tell_until_done(publisher, lambda: [now(wattmeter="lab.a")], argv) == 3
    assert " unknown key | " in capsys.readouterr().out.splitlines()[0]


def test_a_name_that_the_file_does_not_have_is_unknown(site, capsys):
    path, publisher = site
    publisher.close()
    assert main(["status", "lab.a", "nope", "la", "--config-dir", str(path.parent)]) == 3
    assert capsys.readouterr().err == f"{path}: there is no wattmeter 'nope', 'la'\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_nothing_heard_is_unknown_and_who_looks_on_is_told_to_wait(site, capsys, monkeypatch, is_terminal):
    path, publisher = site
    publisher.close()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    assert main(["status", "--config-file", str(path), "--wait", "0.1"]) == 3
    told = capsys.readouterr()
    assert told.out.startswith("KWAPI UNKNOWN - 2 silent")
    assert ("listening to kwapi-drivers at " in told.err) == is_terminal


def test_a_wrong_configuration_is_unknown(tmp_path, capsys):
    (tmp_path / "drivers.conf").write_text("[x]\ndriver = dumy\n")
    assert main(["status", "--config-file", str(tmp_path / "drivers.conf")]) == 3
    assert "unknown driver" in capsys.readouterr().err
