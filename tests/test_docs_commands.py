"""Every command of Kwapi that a document shows is one, with options that there are, by the programs' own parsers."""

import argparse
import re
import shlex

import pytest

from kwapi.cli.discover.arguments import make_parser
from kwapi.cli.discover.command import PROTOCOLS
from kwapi.cli.main import COMMANDS
from kwapi.config import parse_arguments
from kwapi.drivers import find_driver
from kwapi.options import OPTIONS
from kwapi.simulator.app import parse, parse_control
from tests.documents import DOCUMENTS, blocks_of, name_of, prose_of

SHELLS = ("", "sh")
PROGRAM = re.compile(r"(?:\S*/)?(kwapi(?:-[a-z]+)?|bin/run)")
WRAPPERS = ("runuser", "systemd-run")  # what they run stands behind --
KEYWORDS = ("do", "then", "$")


def lines_of(text):
    """Yield the words of each line of a shell's text; a line goes on where a quotation does."""
    text = re.sub(r"<<(\w+)\n.*?^\1$", "", text.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL)
    pending = ""
    for line in text.splitlines():
        if "-->" in line:  # of a drawing
            continue
        lexer = shlex.shlex(pending + line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            yield list(lexer)
        except ValueError:
            pending += f"{line}\n"
        else:
            pending = ""


def simple_commands(words):
    """Yield the words of each simple command of a line, without keywords and where its output goes."""
    command, is_place = [], False
    for word in [*words, ";"]:
        if is_place:
            is_place = False
        elif set(word) <= set("<>&") and set(word) & set("<>"):
            is_place = True
        elif set(word) <= set("();|&"):
            yield command
            command = []
        elif command or word not in KEYWORDS:
            command.append(word)


def commands(text):
    """Yield (program, arguments) for each command of Kwapi in a text of a shell."""
    for words in lines_of(text):
        for command in simple_commands(words):
            if command[:1] and command[0] in WRAPPERS and "--" in command:
                command = command[command.index("--") + 1 :]
            program = PROGRAM.fullmatch(command[0]) if command else None
            if program:
                yield program[1], command[1:]


def kwapi_parser():
    parser = argparse.ArgumentParser("kwapi")
    parser.add_argument("--version", action="store_true")
    subparsers = parser.add_subparsers(dest="command")
    for name, module in COMMANDS.items():
        module.add_arguments(subparsers.add_parser(name))
    return parser


def parse_command(program, arguments):
    """Parse a command line as its program does; SystemExit if it would refuse it."""
    if program == "bin/run":
        assert {word for word in arguments if word.startswith("-")} <= {"--simulator", "--config-dir"}
    elif program == "kwapi-simulator":
        parse_control(arguments[1:]) if arguments[:1] == ["ctl"] else parse(arguments)
    elif program == "kwapi":
        given = kwapi_parser().parse_args(arguments)
        if given.command == "discover" and given.rest:
            protocol = pytest.importorskip(PROTOCOLS[given.driver])
            make_parser(given.driver, find_driver(given.driver), protocol.OPTIONS).parse_args(given.rest)
    else:
        assert program.removeprefix("kwapi-") in OPTIONS
        parse_arguments(program.removeprefix("kwapi-"), arguments)


def test_a_command_that_there_is_not_is_found():
    for line in ("kwapi chek", "bin/kwapi read", "x | kwapi watch --often", "for a in b; do kwapi-api --port 1; done"):
        ((program, arguments),) = commands(line)
        with pytest.raises(SystemExit):
            parse_command(program, arguments)
    assert list(commands("cd kwapi && ls /var/lib/kwapi; systemctl start kwapi-api")) == []
    assert list(commands("$(kwapi check)\nrunuser -u kwapi -- kwapi read a >> b  # c")) == [
        ("kwapi", ["check"]),
        ("kwapi", ["read", "a"]),
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_commands_in_blocks_are_commands(path, capsys):
    for block in blocks_of(path):
        if block.info.partition(" ")[0] not in SHELLS:
            continue
        for program, arguments in commands(block.text):
            try:
                parse_command(program, arguments)
            except SystemExit as end:
                assert not end.code, f"{program} {' '.join(arguments)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_commands_in_sentences_have_options_that_there_are(path):
    """A sentence may leave arguments out; what it names is there."""
    subparsers = next(action for action in kwapi_parser()._actions if action.dest == "command").choices
    for words_of in re.findall(r"`(?:bin/)?kwapi ([a-z][^`\n]*)`", prose_of(path)):
        name, *further = words_of.split()
        if name == "migrate" and name not in COMMANDS:
            continue  # until it is there
        assert name in subparsers, f"kwapi {words_of}"
        options = {option for action in subparsers[name]._actions for option in action.option_strings}
        assert name == "discover" or {word for word in further if word.startswith("--")} <= options, words_of
