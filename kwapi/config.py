"""How the files of the daemons' options are read.

oslo.config knows types, bounds and defaults; what it passes over in silence is found here: unknown keys, sections and
keys that stand twice, a ``$`` that is no reference. Every mistake is collected with its file, line, section and key.
The files of a directory NAME.conf.d whose names end in .conf are read together with NAME.conf; nothing may stand in two
of them. An option that is a secret, such as password, may stand in a file of its own, which password_file names. The
environment overrides all files (environment.py).
"""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from oslo_config import cfg, iniparser

from kwapi.credentials import read_secret
from kwapi.endpoints import plaintext_problems
from kwapi.environment import DEFAULT_STATE_DIR, variable
from kwapi.errors import ConfigError
from kwapi.mistakes import explain, in_order, nearest
from kwapi.options import OPTIONS, STATE_DIR, secret_file

PATHS = Path("/etc/kwapi")
DEFAULT = "DEFAULT"
BYTE_ORDER_MARK = "\ufeff"
COMMENT = re.compile(r"\s[#;]")

Problems = Callable[[cfg.ConfigOpts], Iterable[tuple[str, str]]]
Sections = Callable[["Reader"], Iterable[str]]


class Arguments(NamedTuple):
    """What stands on a daemon's command line."""

    files: list[Path]
    check_only: bool


def parse_arguments(daemon: str, argv: Sequence[str] | None = None) -> Arguments:
    """Return the arguments of a daemon; --help, --version and mistakes end the program as is usual."""
    parser = argparse.ArgumentParser(prog=f"kwapi-{daemon}", description=f"The {daemon} daemon of Kwapi.")
    parser.add_argument("--config-file", action="append", type=Path, metavar="FILE", help="may be repeated")
    parser.add_argument(
        "--config-dir", type=Path, metavar="DIR", default=PATHS, help=f"directory of {daemon}.conf (%(default)s)"
    )
    parser.add_argument("--check-config", action="store_true", help="check the configuration and exit: 0 or 2")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kwapi')}")
    known = parser.parse_args(argv)
    return Arguments(known.config_file or [known.config_dir / f"{daemon}.conf"], known.check_config)


class Reader:
    """The values of a daemon's files, and every mistake found in them so far."""

    def __init__(self, daemon: str, files: Sequence[Path], environ: Mapping[str, str] = os.environ) -> None:
        self.mistakes: list[str] = []
        self._environ = environ
        self._file = files[-1] if files else PATHS / f"{daemon}.conf"
        self._sections: dict[str, str] = {}  # place by name, as written
        self._spellings: dict[str, str] = {}  # name of a section by its name in lower case
        self._repeated: set[str] = set()  # in lower case
        self._keys: dict[str, dict[str, str]] = {}  # place by key, by section
        self._commented: set[tuple[str, str]] = set()  # sections and keys whose values have what looks like a comment
        files = [each for path in files for each in (*self._drop_ins(path), path)]
        readable = [str(path) for path in files if self._scan(path)]  # oslo.config would end at the first that is not
        self.is_whole = len(readable) == len(files)  # where not, what is missing may stand in what was not read
        self.conf = cfg.ConfigOpts()
        self.conf(args=[], project="kwapi", default_config_files=readable, default_config_dirs=[], use_env=False)
        self.conf.register_opts([option for option in OPTIONS[daemon] if option.name == STATE_DIR.name])
        if place := environ.get(DEFAULT_STATE_DIR):
            self.conf.set_default(STATE_DIR.name, place)
        values = self.values(DEFAULT, OPTIONS[daemon])
        for key, problem in plaintext_problems(values):
            self.mistake(DEFAULT, key, problem)
        for key in ("curve_clients_dir", "curve_servers_dir"):
            if not values["curve_key_file"] and self.has(DEFAULT, key):
                self.mistake(DEFAULT, key, "nothing is encrypted without curve_key_file, whatever stands there")

    @property
    def sections(self) -> list[str]:
        """The sections beside [DEFAULT], in the order and the spelling of the files, without those that stand twice."""
        return [name for name in self._sections if name != DEFAULT and name.lower() not in self._repeated]

    def values(self, section: str, options: Sequence[cfg.Opt]) -> dict[str, Any]:
        """Return the section's value of each option, noting unknown keys; the default where a mistake was noted."""
        names = {name for option in options for name in (option.name, option.dest)}
        names |= {str(old.name) for option in options for old in option.deprecated_opts}
        names |= {secret_file(option).name for option in options if option.secret}
        for key in self._keys.get(section, {}):
            if key not in names:
                self.mistake(section, key, f"unknown option{nearest(key, names)}")
        return {option.dest: self.value(section, option) for option in options}

    def value(self, section: str, option: cfg.Opt) -> Any:
        """Return the section's value of an option; its default, with the mistake noted, if it is wrong or missing."""
        self.conf.register_opt(option, group=None if section == DEFAULT else cfg.OptGroup(section))
        if option.secret and not self._take_secret(section, option):
            return option.default
        try:
            value = self._value(section, option)
        except (ValueError, cfg.Error) as error:
            self.mistake(section, option.dest, explain(error, option))
            return option.default
        if option.required and value in (None, "", []):
            if self.is_whole:
                self.mistake(section, option.dest, f"is missing: {option.help}")
        elif value is None and option.default is not None:  # what oslo.config makes of an empty number
            self.mistake(section, option.dest, "is empty")
            return option.default
        elif isinstance(value, float) and isnan(value):  # which no bound keeps out
            self.mistake(section, option.dest, "is no number")
            return option.default
        return value

    def has(self, section: str, key: str) -> bool:
        """Return whether a key stands in a section."""
        return key in self._keys.get(section, {})

    def mistake(self, section: str, key: str, text: str) -> None:
        """Note that something is wrong with an option, at its place or, where it is not given, at its section's.

        Of a section that stands twice nothing more is said: oslo.config has merged what it holds.
        """
        if section.lower() in self._repeated:
            return
        if (section, key) in self._commented:
            text += "; a comment behind a value is part of it, and has a line of its own"
        if (mistake := self.placed(section, key, text)) not in self.mistakes:  # of an option that is read twice
            self.mistakes.append(mistake)

    def placed(self, section: str, key: str, text: str) -> str:
        """Return what is to be told of an option, with its place in front."""
        place = self._keys.get(section, {}).get(key) or self._sections.get(section) or str(self._file)
        return f"{place}: [{section}] {key}: {text}" if key else f"{place}: [{section}]: {text}"

    def finish(self) -> cfg.ConfigOpts:
        """Return the configuration; raise ConfigError with all mistakes if there are any."""
        if self.mistakes:
            raise ConfigError(*in_order(self.mistakes))
        return self.conf

    def _take_secret(self, section: str, option: cfg.Opt) -> bool:
        """Give an option the secret of a file, if one is named; return False if that cannot be, with the mistake noted.

        The environment still overrides it.
        """
        group, file = None if section == DEFAULT else section, secret_file(option)
        if not self.has(section, file.dest) and variable(file.dest, group) not in self._environ:
            return True
        mistakes = len(self.mistakes)
        path = self.value(section, file)
        if path and self.has(section, option.dest):
            self.mistake(section, file.dest, f"{option.dest} is given as well; have one of them")
        elif path:
            try:
                self.conf.set_override(option.dest, read_secret(Path(path)).replace("$", "$$"), group)
            except OSError as error:
                self.mistake(section, file.dest, f"{path} cannot be read: {error.strerror}")
            except ValueError as error:
                self.mistake(section, file.dest, str(error))
        return len(self.mistakes) == mistakes

    def _value(self, section: str, option: cfg.Opt) -> Any:
        group = None if section == DEFAULT else section
        name = variable(option.dest, group)
        if (given := self._environ.get(name)) is not None:
            try:
                self.conf.set_override(option.dest, given, group)
            except ValueError as error:
                raise ValueError(f"{explain(error, option)} (from the environment, {name})") from error
        return self.conf[option.dest] if group is None else self.conf[group][option.dest]

    def _drop_ins(self, path: Path) -> list[Path]:
        """Return the files that are read together with one, by name."""
        directory = path.with_name(f"{path.name}.d")
        try:
            return sorted(each for each in directory.iterdir() if each.suffix == ".conf" and each.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            self.mistakes.append(f"{directory}: cannot be read: {error.strerror}")
            return []

    def _scan(self, path: Path) -> bool:
        """Note where sections and keys stand, and what oslo.config would merge; return whether it can be read."""
        try:
            with path.open(encoding="utf-8") as file:
                if file.read(1) == BYTE_ORDER_MARK:
                    self.mistakes.append(f"{path}:1: begins with a byte-order mark; save it as UTF-8 without one")
                    return False
                file.seek(0)
                _Places(path, self).parse(file)
            return True
        except OSError as error:
            self.mistakes.append(f"{path}: cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.mistakes.append(f"{path}: is not UTF-8: {error.reason} at byte {error.start}")
        except iniparser.ParseError as error:
            self.mistakes.append(f"{path}:{error.lineno}: {error.msg}")  # what stands there may be a secret
        return False

    def note_section(self, name: str, place: str) -> None:
        """Note a section's place, or that the section stands twice, also in other case, which oslo.config ignores.

        Each of several files may have its own [DEFAULT].
        """
        other = self._spellings.setdefault(name.lower(), name)
        if first := self._sections.get(other):
            if not name == other == DEFAULT or first.rpartition(":")[0] == place.rpartition(":")[0]:
                self.mistakes.append(f"{place}: [{name}]: the section stands at {first} already")
                self._repeated.add(name.lower())
            return
        self._sections[name] = place

    def note_key(self, section: str, key: str, value: str, place: str) -> None:
        """Note a key's place, or that it stands twice; and whether a comment seems to stand behind its value."""
        if section.lower() in self._repeated:
            return
        keys = self._keys.setdefault(section, {})
        if first := keys.get(key):
            self.mistakes.append(f"{place}: [{section}] {key}: stands at {first} already")
        else:
            keys[key] = place
        if COMMENT.search(value):
            self._commented.add((section, key))


class _Places(iniparser.BaseParser):
    """Tells a reader the line of every section and key of one file.

    assignment() comes only after a value's last line, so a key is noted where its line is split.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path = path
        self._reader = reader
        self._section = ""

    def new_section(self, section: str) -> None:
        self._section = section
        self._reader.note_section(section, f"{self._path}:{self.lineno}")

    def _split_key_value(self, line: str) -> tuple[str, list[str]]:
        if not self._section:
            raise iniparser.ParseError("a section such as [DEFAULT] must come first", self.lineno, line)
        split: tuple[str, list[str]] = super()._split_key_value(line)
        self._reader.note_key(self._section, split[0], " ".join(split[1]), f"{self._path}:{self.lineno}")
        return split

    def assignment(self, key: str, value: list[str]) -> None:
        """Everything was noted at the key's own line."""


def default_state_dir(environ: Mapping[str, str] = os.environ) -> str:
    """Return where state is kept if nothing says where."""
    return environ.get(DEFAULT_STATE_DIR) or str(STATE_DIR.default)


def no_problems(conf: cfg.ConfigOpts) -> Iterable[tuple[str, str]]:
    """Find nothing wrong."""
    return ()


def no_sections(reader: Reader) -> Iterable[str]:
    """Read no section."""
    return ()


def read(
    daemon: str, files: Sequence[Path], problems: Problems = no_problems, sections: Sections = no_sections
) -> Reader:
    """Return the reader of a daemon's files, with all that is wrong noted.

    problems(conf) gives (option, what is wrong) for each mistake that the options' own types cannot see;
    sections(reader) reads the sections that the daemon may have beside [DEFAULT], and gives their names.
    """
    reader = Reader(daemon, files)
    known = (DEFAULT, *sections(reader))
    for section in reader.sections:
        if section not in known:
            hint = nearest(section, known)
            reader.mistake(section, "", f"unknown section{hint}; kwapi-{daemon} has [{'], ['.join(known)}] only")
    if not reader.mistakes:
        for key, problem in problems(reader.conf):
            reader.mistake(DEFAULT, key, problem)
    return reader


def load(
    daemon: str, files: Sequence[Path], problems: Problems = no_problems, sections: Sections = no_sections
) -> cfg.ConfigOpts:
    """Return the configuration of a daemon, read() with the same arguments; raise ConfigError with every mistake."""
    return read(daemon, files, problems, sections).finish()
