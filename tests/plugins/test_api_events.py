import threading

import pytest

from kwapi.plugins.api.events import MAX_EVENTS, NEEDLESS_LINES, EventLog
from kwapi.plugins.api.states import Event

RESET = Event(1000.5, "reset", 50.0, 0.0)
LOSS = Event(2000.0, "power loss", None, 7.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def reread(path, *probes):
    log = EventLog(path)
    found = [log.of(probe) for probe in probes]
    log.close()
    return found


def test_events_outlive_a_process_that_never_closed_the_file(path):
    log = EventLog(path)
    log.note({"a": RESET, "Ünï rack.1": LOSS, "two\u2028lines": LOSS})
    log.note({"a": LOSS})
    assert reread(path, "a", "Ünï rack.1", "two\u2028lines", "b") == [[RESET, LOSS], [LOSS], [LOSS], []]
    log.close()


def test_without_a_path_events_are_in_memory():
    log = EventLog()
    log.note({"a": RESET})
    log.sync()
    assert log.of("a") == [RESET]


def test_a_cut_line_costs_that_event_alone(path, caplog):
    log = EventLog(path)
    log.note({"a": RESET, "b": LOSS})
    log.close()
    path.write_bytes(path.read_bytes()[:-9] + b"\xff")
    log = EventLog(path)
    log.note({"b": RESET})
    log.close()
    assert reread(path, "a", "b") == [[RESET], [RESET]]
    assert "1 line cannot be read" in caplog.text


@pytest.mark.parametrize("line", ["3", "[]", '{"probe": "a"}', '{"probe": [], "renamed": 1}', '{"probe": {}}', "\x00"])
def test_lines_of_something_else_are_passed_over(path, line):
    path.write_text(f'{line}\n{{"probe": "a", "timestamp": 1000.5, "kind": "reset", "before": 50.0, "after": 0}}\n')
    assert reread(path, "a") == [[RESET]]


def test_the_newest_events_of_a_probe_are_kept(path):
    log = EventLog(path)
    for number in range(MAX_EVENTS + 5):
        log.note({"a": Event(float(number), "wrap", 1.0, 0.0), **({"b": RESET} if number == 0 else {})})
    log.close()
    of_a, of_b = reread(path, "a", "b")
    assert [event.timestamp for event in of_a] == [float(number) for number in range(5, MAX_EVENTS + 5)]
    assert of_b == [RESET]


def test_a_flood_of_events_does_not_fill_the_disk(path):
    log = EventLog(path)
    for number in range(NEEDLESS_LINES + 3 * MAX_EVENTS):
        log.note({"a": Event(float(number), "jump", 1.0, 2.0)})
    newest = log.of("a")
    log.sync()
    assert path.read_bytes().count(b"\n") == MAX_EVENTS
    log.note({"b": LOSS})
    log.close()
    assert reread(path, "a", "b") == [newest, [LOSS]]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_comes_while_the_file_is_written_anew_is_kept(path):
    log, stop = EventLog(path), threading.Event()

    def rewrite():
        while not stop.is_set():
            log._rewrite(path)

    rewriting = threading.Thread(target=rewrite)
    rewriting.start()
    names = [f"p{number % 20}" for number in range(1000)]
    for number, name in enumerate(names):
        log.note({name: Event(float(number), "wrap", 1.0, 0.0)})
    stop.set()
    rewriting.join()
    kept = [log.of(name) for name in names[:20]]
    log.close()
    assert list(map(len, kept)) == [50] * 20
    assert reread(path, *names[:20]) == kept


def test_the_events_of_two_names_of_a_probe_are_joined_in_order(path):
    log = EventLog(path)
    log.note({"new": LOSS})
    log.note({"old": RESET})
    log.rename("old", "new")
    log.close()
    assert reread(path, "old", "new") == [[], [RESET, LOSS]]


def test_what_is_forgotten_stays_so(path):
    log = EventLog(path)
    log.note({"a": RESET, "b": RESET})
    log.forget("a")
    log.forget("c")
    log.close()
    assert reread(path, "a", "b") == [[], [RESET]]


def test_a_full_disk_is_told_once_and_events_are_kept_in_memory(caplog):
    log = EventLog()
    log._file = 1 << 30  # no descriptor: each write fails
    log.note({"a": RESET})
    log.note({"a": LOSS})
    assert log.of("a") == [RESET, LOSS]
    assert caplog.text.count("cannot be written") == 1
