import pytest

from kwapi.health import health_topic
from kwapi.measurement import topic_of
from kwapi.nats.subjects import EVERYTHING, filter_of, filters_of, message_id, subject_of


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("lyon", "kwapi.lyon._"),
        ("lyon.pdu1", "kwapi.lyon.pdu1._"),
        ("lyon.pdu 1", "kwapi.lyon.pdu%201._"),
        ("lyon.*", "kwapi.lyon.%2A._"),
        ("a>b$c", "kwapi.a%3Eb%24c._"),
        ("zürich", "kwapi.z%C3%BCrich._"),
        ("50%", "kwapi.50%25._"),
        ("a..b", "kwapi.a.%.b._"),
        ("~_-", "kwapi.%7E_-._"),
    ],
)
def test_the_subject_of_a_wattmeter(name, subject):
    assert subject_of(topic_of(name)) == subject


def test_no_two_names_have_one_subject():
    names = ["a.b", "a%2Eb", "a..b", "a.%.b", "a._", "a", "a b", "a%20b", "_", "a.b._", "á", "Á"]
    assert len({subject_of(topic_of(name)) for name in names}) == len(names)


def test_health_has_a_subject_of_its_own():
    assert subject_of(health_topic("lyon.pdu1")) == "kwapi.kwapi.health.lyon.pdu1._"


def test_a_filter_takes_a_wattmeter_and_what_is_below_it():
    assert filter_of(b"lyon.") == "kwapi.lyon.>"
    assert filter_of(b"") == EVERYTHING


def test_a_filter_that_another_one_covers_is_left_out():
    assert filters_of([b"lyon.pdu1.", b"lyon.", b"lyonel.", b"lyon."]) == ["kwapi.lyon.>", "kwapi.lyonel.>"]
    assert filters_of([b"lyon.", b"", b"kwapi.health."]) == [EVERYTHING]


def test_a_message_has_an_id_by_wattmeter_boot_and_seq():
    assert message_id(subject_of(b"lyon.pdu1."), 17, 4) == "kwapi.lyon.pdu1._.17.4"
