from kwapi.drivers.metrics import health_metrics
from tests.messages import health
from tests.test_metrics import samples_of


def page(healths):
    return samples_of(lambda: health_metrics(lambda: healths))


def test_every_wattmeter_has_one_state_and_its_counts():
    down = health(wattmeter="a", state="down", polls=7, failures=2, missed=1, restarts=3, poll_seconds=0.25)
    samples = page([down, health(wattmeter="b", last_success=1234.5)])
    states = {labels[2]: value for (name, *labels), value in samples.items() if name == "kwapi_wattmeter_state"}
    assert set(states) == {("wattmeter", "a"), ("wattmeter", "b")}
    ones = {
        (dict(labels)["wattmeter"], dict(labels)["state"])
        for (name, *labels), value in samples.items()
        if name == "kwapi_wattmeter_state" and value
    }
    assert ones == {("a", "down"), ("b", "up")}
    of_a = {name: value for (name, *labels), value in samples.items() if labels == [("wattmeter", "a")]}
    assert of_a == {
        "kwapi_wattmeter_polls_total": 7,
        "kwapi_wattmeter_failures_total": 2,
        "kwapi_wattmeter_missed_total": 1,
        "kwapi_wattmeter_restarts_total": 3,
        "kwapi_wattmeter_poll_seconds": 0.25,
        "kwapi_wattmeter_state_since_timestamp_seconds": down.since,
        "kwapi_wattmeter_interval_seconds": 1,
    }
    assert samples["kwapi_wattmeter_last_success_timestamp_seconds", ("wattmeter", "b")] == 1234.5


def test_what_is_unknown_is_absent():
    assert not [name for name, *_ in page([health()]) if name.endswith(("poll_seconds", "success_timestamp_seconds"))]


def test_no_wattmeters_are_no_samples():
    assert page([]) == {}
