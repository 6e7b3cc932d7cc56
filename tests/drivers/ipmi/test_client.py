import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kwapi.drivers.ipmi.client import (
    MAX_TARGETS,
    Client,
    Process,
    ProcessEnded,
    Request,
    Target,
    start_process,
    to_key,
)
from kwapi.drivers.ipmi.driver import Ipmi
from kwapi.drivers.ipmi.pyghmi import send_datagram
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.integration.bmc import PASSWORD, POWER_READING, USER, Bmcs, power_reading
from tests.waiting import eventually

ASK_POWER = (0x2C, 0x02, b"\xdc\x01\0\0")
GET_DEVICE_ID = (0x06, 0x01)
LONG = 30.0  # seconds; for what must not fail because the machine is busy
SHORT = 0.3  # for what is bound to fail


@pytest.fixture
def bmcs(tmp_path):
    with Bmcs(tmp_path, 3) as running:
        for place, port in enumerate(running.ports):
            running.set(port, {POWER_READING: power_reading(200 + place)})
        yield running


@pytest.fixture
def client():
    running = Client()
    yield running
    running.close()


def target_of(port, **values):
    return Target(**{"name": "bmc", "address": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD, **values})


def ask_watts(client, port, seconds=LONG, **values):
    code, answer = client.ask(target_of(port, **values), *ASK_POWER, seconds=seconds)
    assert code == 0
    return int.from_bytes(answer[1:3], "little")


def pids(client):
    return [process.popen.pid for process in client.processes]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_bmcs_share_a_process_and_have_one_session_each(bmcs, client):
    for _ in range(3):
        assert [ask_watts(client, port) for port in bmcs.ports] == [200, 201, 202]
    assert len(client.processes) == 1
    assert [bmcs.received(port) for port in bmcs.ports] == [["login", *["2c/02"] * 3]] * 3


def test_a_driver_measures_over_the_network(bmcs):
    options = {option.dest: option.default for option in Ipmi.options}
    values = {"host": "127.0.0.1", "port": bmcs.ports[1], "user": USER, "password": PASSWORD, "probes": ["server"]}
    shared = Ipmi.open_shared()
    try:
        driver = Ipmi("server", {**options, **values, "interval": 1.0}, shared)
        driver.open()
        assert driver.read() == [Measurement("server", watts=201)]
        driver.close()
    finally:
        Ipmi.close_shared(shared)


def test_many_questions_to_one_bmc_are_asked_one_after_the_other(bmcs, client):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask_watts(client, bmcs.ports[0]), range(40)))
    assert answers == [200] * 40
    assert bmcs.received(bmcs.ports[0]) == ["login", *["2c/02"] * 40]


@pytest.mark.parametrize(
    ("fault", "privilege", "told"),
    [
        ("mute", 2, ", asked 0x2c 0x02: no answer in 1.5 s"),
        ("mute", 4, ", asked 0x2c 0x02: no answer in 1.5 s"),
        ("silent", 2, ": no login for user 'user' in 1.5 s; is the host right, and the user?"),
    ],
)
def test_while_a_bmc_says_nothing_the_others_go_on(bmcs, client, fault, privilege, told):
    quiet, *others = bmcs.ports
    ask_watts(client, others[0])
    bmcs.set(quiet, **{fault: True})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask_watts, client, quiet, 1.5, privilege=privilege)
        polls = 0
        while not waiting.done():
            assert [ask_watts(client, port) for port in others] == [201, 202]
            polls += 1
    with pytest.raises(DeviceError) as raised:
        waiting.result()
    assert str(raised.value) == f"bmc:{quiet}{told}"
    assert polls > 2 and len(client.processes) == 1
    bmcs.set(quiet, {POWER_READING: power_reading(222)})
    assert ask_watts(client, quiet, privilege=privilege) == 222


def test_a_bmc_that_was_down_is_logged_in_to_again(bmcs, client):
    port = bmcs.ports[0]
    assert ask_watts(client, port) == 200
    process = pids(client)
    bmcs.kill()
    with pytest.raises(DeviceError, match="no answer"):
        ask_watts(client, port, SHORT)
    with pytest.raises(DeviceError, match="no login"):
        ask_watts(client, port, SHORT)
    bmcs.start()
    assert ask_watts(client, port) == 200
    assert bmcs.received(port).count("login") == 2 and pids(client) == process


def test_a_session_in_which_a_command_got_no_answer_is_closed(bmcs, client):
    port = bmcs.ports[0]
    bmcs.set(port, {POWER_READING: ""})
    with pytest.raises(DeviceError, match="no answer"):
        ask_watts(client, port, 1.0)
    eventually(lambda: bmcs.received(port)[-1] == "logout")


def test_a_wrong_password_is_refused_by_name(bmcs, client):
    with pytest.raises(CredentialsRefused, match="refuses user 'user': login failed, Incorrect password") as refused:
        ask_watts(client, bmcs.ports[0], password="wr0ng")
    assert "wr0ng" not in str(refused.value)
    assert ask_watts(client, bmcs.ports[0]) == 200


def test_a_higher_privilege_is_asked_for_once(bmcs, client):
    assert [ask_watts(client, bmcs.ports[0], privilege=4) for _ in range(2)] == [200, 200]
    assert bmcs.received(bmcs.ports[0]) == ["login", "2c/02", "2c/02"]


def test_malformed_packets_of_a_bmc_disturb_no_other(bmcs, client):
    head = b"\x06\0\xff\x07"
    packets = [head, head + b"\x06\x13\0", head + b"\x06\x11" + bytes(12), head + bytes(13), b"\xff" * 60, bytes(4)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as garbler:
        garbler.bind(("127.0.0.1", 0))
        garbler.settimeout(LONG)
        port = garbler.getsockname()[1]
        with ThreadPoolExecutor(1) as pool:
            ask_watts(client, bmcs.ports[0])
            waiting = pool.submit(ask_watts, client, port, 1.5)
            _, asker = garbler.recvfrom(3000)
            while not waiting.done():
                for packet in packets:
                    garbler.sendto(packet, asker)
                assert ask_watts(client, bmcs.ports[0]) == 200
    with pytest.raises(DeviceError, match="no login"):
        waiting.result()
    assert len(client.processes) == 1


def test_a_process_that_hangs_is_replaced(bmcs):
    client = Client(grace=SHORT)
    try:
        assert ask_watts(client, bmcs.ports[0]) == 200
        hung = client.processes[0]
        os.kill(hung.popen.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(ask_watts, client, bmcs.ports[1])
            eventually(lambda: len(client.processes[0].targets) == 2)
            with pytest.raises(DeviceError, match="the process that asked bmc:.* hung; the next poll starts another"):
                ask_watts(client, bmcs.ports[0], SHORT)
            with pytest.raises(DeviceError, match="the process that asked bmc:.* ended; the next poll starts another"):
                other.result()
        assert [ask_watts(client, port) for port in bmcs.ports] == [200, 201, 202]
        assert hung.join(LONG) and hung.popen.returncode == -signal.SIGKILL
        assert hung not in client.processes
    finally:
        client.close()


def test_a_process_that_hangs_is_not_waited_for_when_its_pipe_is_full(bmcs, client):
    assert ask_watts(client, bmcs.ports[0]) == 200
    process = client.processes[0]
    os.kill(process.popen.pid, signal.SIGSTOP)
    request = Request(10**6, target_of(bmcs.ports[0]), *ASK_POWER, 0, LONG)
    with pytest.raises(ProcessEnded):
        while True:
            process.send(request)
    assert process.join(LONG) and process.popen.returncode == -signal.SIGKILL
    assert ask_watts(client, bmcs.ports[0]) == 200


def test_a_process_that_ended_is_replaced(bmcs, client):
    assert ask_watts(client, bmcs.ports[0]) == 200
    ended = client.processes[0]
    ended.kill()
    assert ended.join(LONG)
    assert ask_watts(client, bmcs.ports[0]) == 200
    assert ended not in client.processes


def test_a_process_that_starts_slowly_is_given_time():
    now = [0.0]
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    client = Client(
        lambda: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0),
        grace=0.0,
        clock=lambda: now[0],
    )
    try:
        with pytest.raises(DeviceError, match="still starting"):
            ask_watts(client, 9, SHORT)
        process = client.processes[0]
        assert not process.has_ended
        now[0] = 31.0
        with pytest.raises(DeviceError, match="hung"):
            ask_watts(client, 9, SHORT)
        assert process.join(LONG)
    finally:
        client.close()


@pytest.mark.parametrize("output", ['{"number": 1, "co', "no JSON\n", '{"number": "one"}\n'])
def test_a_process_that_says_something_odd_is_replaced(output):
    mad = [sys.executable, "-c", f"import sys; sys.stdin.readline(); print({output!r}, end='', flush=True)"]
    started = []

    def start():
        started.append(subprocess.Popen(mad, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0))
        return started[-1]

    client = Client(start)
    try:
        for _ in range(2):
            with pytest.raises(DeviceError, match="ended; the next poll starts another"):
                ask_watts(client, 9)
        assert len(started) == 2
    finally:
        client.close()


def test_at_the_end_sessions_are_closed_and_processes_gone(bmcs):
    client = Client()
    ask_watts(client, bmcs.ports[0])
    process = client.processes[0]
    client.close()
    assert process.popen.returncode == 0
    eventually(lambda: bmcs.received(bmcs.ports[0])[-1] == "logout")
    with pytest.raises(DeviceError, match="closed"):
        ask_watts(client, bmcs.ports[0])


def test_at_the_end_a_process_that_hangs_is_killed(bmcs):
    client = Client()
    ask_watts(client, bmcs.ports[0])
    process = client.processes[0]
    os.kill(process.popen.pid, signal.SIGSTOP)
    client.close()
    assert process.popen.returncode == -signal.SIGKILL


PARENT = """
import sys
from kwapi.drivers.ipmi.client import Client, Target
client = Client()
target = Target("bmc", "127.0.0.1", int(sys.argv[1]), sys.argv[2], sys.argv[3])
client.ask(target, 0x2C, 0x02, b"\\xdc\\x01\\0\\0", seconds=30.0)
print(client.processes[0].popen.pid, flush=True)
sys.stdin.read()
"""


def test_processes_end_when_their_parent_is_killed(bmcs):
    command = [sys.executable, "-c", PARENT, str(bmcs.ports[0]), USER, PASSWORD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    eventually(lambda: not is_running(pid))
    eventually(lambda: bmcs.received(bmcs.ports[0])[-1] == "logout")


HUNG = """
import sys, threading, time
from kwapi.drivers.ipmi.pyghmi import Loop, read_requests
threading.Thread(target=read_requests, args=(sys.stdin.buffer, Loop(print))).start()
time.sleep(300)
"""


def test_a_process_that_hangs_ends_when_its_parent_is_killed():
    assert subprocess.run([sys.executable, "-c", HUNG], input=b"", timeout=LONG).returncode == 1


def test_a_process_ends_by_signals_that_its_parent_blocks(bmcs):
    client = Client()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        ask_watts(client, bmcs.ports[0])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    process = client.processes[0]
    assert os.getpgid(process.popen.pid) == process.popen.pid  # so that Ctrl-C leaves it alone
    os.kill(process.popen.pid, signal.SIGTERM)
    assert process.join(LONG) and process.popen.returncode == -signal.SIGTERM
    client.close()


def test_secrets_reach_the_process_by_its_pipe_only(bmcs, client, capfd):
    ask_watts(client, bmcs.ports[0])
    with pytest.raises(CredentialsRefused):
        ask_watts(client, bmcs.ports[1], password="wr0ng")
    for pid in pids(client):
        shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert PASSWORD.encode() not in shown and b"wr0ng" not in shown
    client.close()
    output = "".join(capfd.readouterr())
    assert PASSWORD not in output and "wr0ng" not in output


def test_a_process_has_room_for_some_bmcs_and_one_user_of_each():
    process = Process(start_process(), lambda: 0.0)
    try:
        process.targets = {target_of(port) for port in range(1, MAX_TARGETS)}
        assert process.has_room(target_of(1)) and process.has_room(target_of(900))
        assert not process.has_room(target_of(1, user="other"))
        assert not process.has_room(Target("/dev/ipmi0", device="/dev/ipmi0"))
        process.targets.add(target_of(900))
        assert process.has_room(target_of(1)) and not process.has_room(target_of(901))
        process.targets = {Target("/dev/ipmi0", device="/dev/ipmi0")}
        assert not process.has_room(target_of(1))
    finally:
        process.close()
        assert process.join(LONG)
    assert not process.has_room(target_of(1))


def test_a_device_that_is_not_there_is_a_device_error(tmp_path, client):
    device = str(tmp_path / "ipmi0")
    with pytest.raises(DeviceError, match=f"{device}, asked 0x2c 0x02: No such file or directory"):
        client.ask(Target(device, device=device), *ASK_POWER, seconds=LONG)


def test_a_device_that_is_none_is_a_device_error(tmp_path, client):
    device = tmp_path / "ipmi0"
    device.touch()
    with pytest.raises(DeviceError, match=f"{device}, asked 0x2c 0x02: Inappropriate ioctl"):
        client.ask(Target(str(device), device=str(device)), *ASK_POWER, seconds=LONG)


@pytest.mark.parametrize(
    ("text", "key"), [("", None), ("secret", b"secret"), ("0xa1B2", b"\xa1\xb2"), ("0X00", b"\0"), ("é", b"\xc3\xa9")]
)
def test_a_key_is_text_or_hexadecimal(text, key):
    assert to_key(text) == key


def test_a_socket_that_must_not_block_is_not_made_to():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        send_datagram(sock, b"packet", sock.getsockname())
        assert sock.recv(100) == b"packet"
        send_datagram(sock, bytes(100_000), sock.getsockname())  # more than a datagram may have
        assert not sock.getblocking()


def test_threads_end_with_their_process(bmcs):
    before = threading.active_count()
    client = Client()
    ask_watts(client, bmcs.ports[0])
    client.close()
    assert threading.active_count() == before
