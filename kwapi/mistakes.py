"""What is wrong in a configuration, in words for whoever edits the file and in the order of its lines."""

import difflib
import re
from collections.abc import Iterable

from oslo_config import cfg

LINE = re.compile(r"(.*?):(\d+): ")  # how a mistake begins whose place is known
WORDS = (  # what Python and oslo.config say of a value, what we say
    (r"invalid literal for int\(\) with base 10: (.*)", r"\1 is no whole number"),
    (r"could not convert string to float: (.*)", r"\1 is no number"),
    (r"Unexpected boolean value (.*)", r"\1 is neither true nor false"),
    (r"Should be greater than or equal to (.*)", r"must be at least \1"),
    (r"Should be less than or equal to (.*)", r"must be at most \1"),
    (r"Value should be NAME:VALUE pairs.*", r"must be NAME:VALUE, or several of them between commas"),
    (r" is not a valid host address", r"is empty"),
    (r"(.*) is not a valid host address", r"'\1' is no address and no name of a host"),
    (r"\(.*URIReference.*", r"is no address such as http://host/page"),
)


def explain(error: Exception, option: cfg.Opt) -> str:
    """Return what is wrong with an option's value."""
    text = str(error)
    if isinstance(error, cfg.NoSuchOptError):  # of a reference; the option that was asked for is there
        return "has a $ that refers to no option; to mean the character itself write $$"
    if isinstance(error, cfg.ConfigFileValueError):
        text = re.sub(r"^.*? is not valid: ", "", text)  # what comes before names oslo.config's own place
    choices, (_, is_choice, found) = getattr(option.type, "choices", None), text.rpartition(", but found ")
    if choices and is_choice:
        return f"{found or 'it'} is none of {', '.join(map(str, choices))}"
    for theirs, ours in WORDS:
        if match := re.fullmatch(theirs, text, re.DOTALL):
            return match.expand(ours)
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the hint to the known name that is most like another; empty if none is."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def in_order(mistakes: Iterable[str]) -> list[str]:
    """Return mistakes by file and line; first those that have no line."""

    def place(mistake: str) -> tuple[str, int]:
        match = LINE.match(mistake)
        return (match[1], int(match[2])) if match else ("", 0)

    return sorted(mistakes, key=place)
