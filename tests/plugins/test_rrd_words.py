import re

import pytest

from kwapi.plugins.rrd.words import FOR_SCRIPT, TEXT, say
from tests.test_layers import ROOT

PLUGIN = ROOT / "kwapi" / "plugins" / "rrd"
PAGES = [*PLUGIN.glob("*.py"), *PLUGIN.glob("templates/*.html")]
SCRIPTS = list(PLUGIN.glob("static/*.js"))


def sources(paths):
    return {path.name: path.read_text("utf-8") for path in paths if path.name != "words.py"}


def test_every_word_that_is_said_is_there():
    said = {key for text in sources(PAGES).values() for key in re.findall(r"\bsay\(['\"](\w+)['\"][,)]", text)}
    assert len(said) > 50 and said <= set(TEXT)


def test_no_word_is_left_over():
    everything = "\n".join(sources(PAGES + SCRIPTS).values())
    built = {f"sort_{key}" for key in ("name", "watts", "kwh")}
    for key in set(TEXT) - built:
        assert re.search(rf"['\".]{key.removesuffix('_one')}\b", everything), key


def test_the_script_knows_its_words_and_no_others():
    text = "\n".join(sources(SCRIPTS).values())
    used = set(re.findall(r"page\.words\.(\w+)", text)) | {"up", "stale", "down", "muted", "broken"}
    used |= set(re.findall(r"\"(\w+_one)\"", text)) | set(re.findall(r"_one\" : \"(\w+)\"", text))
    assert used == set(FOR_SCRIPT)


@pytest.mark.parametrize(("number", "words"), [(0, "0 probes"), (1, "1 probe"), (2, "2 probes"), (1000, "1000 probes")])
def test_one_is_said_otherwise_than_many(number, words):
    assert say("probes", number=number) == words
