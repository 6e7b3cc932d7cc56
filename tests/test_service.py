import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from waitress.adjustments import Adjustments

from kwapi import service
from kwapi.errors import ConfigError, DeviceError
from tests.clock import Clock
from tests.ports import free_port
from tests.waiting import eventually


@pytest.fixture
def blocked_signals():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    service.block_signals(reloads=True)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_every_mistake_is_printed_and_the_status_is_2(capsys):
    assert service.refuse(ConfigError("a.conf:1: one", "a.conf:2: two")) == 2
    assert capsys.readouterr().err == "a.conf:1: one\na.conf:2: two\n"


def test_a_signal_stops_the_daemon_with_status_0(blocked_signals):
    task = service.Task("forever", lambda stopping: stopping.wait())
    task.start()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # not to a thread that does not block it
    assert service.wait([task]) == 0
    service.stop([task])
    assert not task.is_alive()


@pytest.mark.parametrize("error", [DeviceError("gone"), ZeroDivisionError()])
def test_the_end_of_a_task_ends_the_daemon_with_status_1(blocked_signals, caplog, error):
    def fail(_):
        raise error

    task = service.Task("bus", fail)
    task.start()
    assert service.wait([task]) == 1
    assert "since bus ended" in caplog.text


PLACES = """
import ctypes, os, sys
from threading import Barrier, Thread
from kwapi import service
service.keep_memory_together()
together = Barrier(4)
def work():
    together.wait()
    kept = [bytes(2000) for _ in range(1000)]
    together.wait()
threads = [Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.parametrize(("environ", "is_one"), [({}, True), ({"MALLOC_ARENA_MAX": "3"}, False)])
def test_memory_that_threads_give_back_is_in_one_place(environ, is_one):
    others = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    told = subprocess.run([sys.executable, "-c", PLACES], env=others | environ, capture_output=True, check=True).stderr
    places = told.count(b"\nArena ") + told.startswith(b"Arena ")
    assert (places == 1) is is_one, told


SUSPENDED = """
from kwapi import service
service.block_signals()
print("ready", flush=True)
raise SystemExit(service.wait((), lambda: print("tick", flush=True) is None))
"""


def test_a_daemon_that_was_suspended_goes_on():
    with subprocess.Popen([sys.executable, "-c", SUSPENDED], stdout=subprocess.PIPE) as daemon:
        lines = iter(daemon.stdout.readline, b"")
        assert next(lines) == b"ready\n"
        assert next(lines) == b"tick\n"
        daemon.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED | os.WNOWAIT)
        started = time.monotonic()
        eventually(lambda: time.monotonic() - started > 2 * service.TICK)
        daemon.send_signal(signal.SIGCONT)
        assert next(lines, b"") == b"tick\n"
        daemon.terminate()
        assert daemon.wait() == 0


def test_a_check_that_says_no_ends_the_daemon(blocked_signals):
    assert service.wait([], check=lambda: False) == 1


class Systemd:
    """The socket at which systemd would listen, and the watchdog it would set."""

    def __init__(self, path, monkeypatch, **environ):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)
        for name, value in {"NOTIFY_SOCKET": str(path), **environ}.items():
            monkeypatch.setenv(name, value)

    def hear(self):
        return self.socket.recv(1000).decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def test_sighup_reloads_and_systemd_is_told(blocked_signals, tmp_path, monkeypatch):
    reloaded = []

    def reload():
        reloaded.append(True)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with Systemd(tmp_path / "notify", monkeypatch) as systemd:
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
        assert service.wait([], reload=reload) == 0
        assert systemd.hear().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert systemd.hear() == "READY=1"
    assert reloaded == [True]


def test_the_watchdog_is_told_only_while_all_is_well(blocked_signals, tmp_path, monkeypatch):
    answers = iter([True, True, False])
    with Systemd(tmp_path / "notify", monkeypatch, WATCHDOG_USEC="1000") as systemd:
        assert service.wait([], check=lambda: next(answers)) == 1
        assert [systemd.hear() for _ in range(2)] == ["WATCHDOG=1"] * 2
        systemd.socket.settimeout(0)
        with pytest.raises(BlockingIOError):
            systemd.hear()


def test_the_watchdog_is_told_no_more_while_a_task_hangs(blocked_signals, tmp_path, monkeypatch, caplog):
    """Until it goes on: here with the fourth look at the tasks."""
    caplog.set_level("INFO")
    clock, looks, release = Clock(), iter(range(5)), threading.Event()

    def work(stopping):
        while not stopping.is_set():  # as the bus does
            release.wait()
            stopping.wait()

    task = service.Task("bus", work, clock=clock)
    told = []

    def check():
        look = next(looks)
        if look == 1:
            clock.now += 1 + service.HANG_LIMIT
        elif look == 3:
            release.set()
            eventually(lambda: not task.hangs)
        told.append(heard(systemd))
        return look < 4

    with Systemd(tmp_path / "notify", monkeypatch, WATCHDOG_USEC="1000") as systemd:
        systemd.socket.settimeout(0)
        task.start()
        eventually(lambda: task.stopping.busy_since is not None)
        assert service.wait([task], check=check) == 1
    assert told == [[], ["WATCHDOG=1"], [], [], ["WATCHDOG=1"]]  # before each look
    assert [record.message for record in caplog.records if "bus" in record.message] == ["bus hangs", "bus goes on"]
    service.stop([task])


def heard(systemd):
    """Return what has been told since the last time."""
    told = []
    with suppress(BlockingIOError):
        while True:
            told.append(systemd.hear())
    return told


def test_a_task_hangs_only_while_it_is_at_work():
    clock = Clock()
    idle, in_c = service.Task("idle", lambda _: None, clock=clock), service.Task("proxy", lambda _: None, clock=clock)
    waiting = threading.Thread(target=idle.stopping.wait)
    waiting.start()
    clock.now += 10 * service.HANG_LIMIT
    assert not idle.hangs
    assert not in_c.hangs  # which never looks
    idle.stopping.set()
    waiting.join()
    assert not idle.hangs
    clock.now += 1 + service.HANG_LIMIT
    assert idle.hangs
    assert idle.stopping.is_set()
    assert not idle.hangs


def test_a_slow_disk_is_no_reason_to_start_again():
    clock = Clock()
    task = service.Task("store", lambda _: None, hang_limit=service.DISK_LIMIT, clock=clock)
    assert not task.stopping.is_set()
    clock.now += service.DISK_LIMIT
    assert not task.hangs
    clock.now += 1
    assert task.hangs


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_of_another_process_is_not_ours(environ, seconds):
    assert service.watchdog_period(environ) == seconds


def test_systemd_is_told(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        service.notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
    service.notify("STOPPING=1")  # nobody listens any more: a warning, no error
    monkeypatch.delenv("NOTIFY_SOCKET")
    service.notify("READY=1")


@pytest.fixture
def said_nothing_yet():
    log = service.LOG.getChild("systemd")
    log.setLevel(0)
    yield
    log.setLevel(0)


@pytest.mark.usefixtures("said_nothing_yet")
def test_a_systemd_that_reads_no_more_holds_nobody_up_and_is_said_once(tmp_path, monkeypatch, caplog):
    with Systemd(tmp_path / "notify", monkeypatch) as systemd:
        systemd.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for number in range(5000):  # more than any queue of the kernel
            service.notify(f"STATUS={number}")
        assert systemd.hear() == "STATUS=0"
    assert caplog.text.count("cannot tell systemd 'STATUS=") == 1


def answer(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_http_is_served_until_stopped():
    port = free_port()
    server = service.HttpServer(answer, "127.0.0.1", port, threads=2)
    with pytest.raises(ConfigError, match=f"port {port}"):
        service.HttpServer(answer, "127.0.0.1", port, threads=2)
    with pytest.raises(ConfigError, match="nowhere.invalid"):
        service.HttpServer(answer, "nowhere.invalid", port, threads=2)
    task = service.Task("http", server.run)
    task.start()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        page = b""
        while part := client.recv(1000):
            page += part
    assert page.endswith(b"hello")
    service.stop([task])
    eventually(lambda: not task.is_alive())
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


@pytest.fixture
def channel():
    ours, theirs = socket.socketpair()
    channel = service.Channel(SimpleNamespace(active_channels={}), ours, "", Adjustments(), map={})
    yield channel
    channel.handle_close()
    theirs.close()


def test_a_connection_is_left_alone_while_a_thread_sends_on_it(channel):
    sending, sent = threading.Event(), threading.Event()

    def send():
        with channel.outbuf_lock:
            sending.set()
            sent.wait(5)

    assert not channel.writable()
    channel.total_outbufs_len = 1
    assert channel.writable()
    sender = threading.Thread(target=send)
    sender.start()
    sending.wait(5)
    assert not channel.writable()
    sent.set()
    sender.join(5)
    assert channel.writable()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_reader_that_is_slow_gets_all_of_a_long_answer(address):
    body = bytes(range(256)) * 20_000

    def answer_at_length(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    port = free_port()
    server = service.HttpServer(answer_at_length, address, port, threads=2)
    task = service.Task("http", server.run)
    task.start()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5)
        client.connect((address, port))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        got = b"".join(iter(lambda: client.recv(1000), b""))
    assert got.endswith(b"\r\n\r\n" + body)
    service.stop([task])


def test_a_task_that_does_not_stop_is_left_behind(caplog):
    hold = threading.Event()
    task = service.Task("stubborn", lambda _: hold.wait())
    task.start()
    started = time.monotonic()
    service.stop([task], deadline=0.05)
    assert time.monotonic() - started < 5
    assert "stubborn did not stop in time" in caplog.text
    hold.set()
