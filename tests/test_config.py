import pytest
from oslo_config import cfg

from kwapi.config import Reader, load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.options import OPTIONS
from kwapi.section_options import DRIVER, WATTMETER


def written(tmp_path, text, name="api.conf"):
    path = tmp_path / name
    path.write_text(text)
    return path


def mistakes_of(tmp_path, text, daemon="api"):
    path = written(tmp_path, text, f"{daemon}.conf")
    with pytest.raises(ConfigError) as caught:
        load(daemon, [path])
    return [mistake.replace(f"{tmp_path}/", "") for mistake in caught.value.mistakes]


def test_values_and_defaults(tmp_path):
    endpoints = ["tcp://127.0.0.1:1", "tcp://[::1]:2"]
    text = f"[DEFAULT]\nport = 5001\nprobes_endpoint = {', '.join(endpoints)}\n"
    conf = load("api", [written(tmp_path, text)])
    assert (conf.port, conf.host, conf.probes_endpoint) == (5001, "127.0.0.1", endpoints)


def test_several_files_are_one_configuration(tmp_path):
    first = written(tmp_path, "[DEFAULT]\nport = 5001\n")
    second = written(tmp_path, "[DEFAULT]\nhost = ::1\n", "b.conf")
    conf = load("api", [first, second])
    assert (conf.port, conf.host) == (5001, "::1")
    with pytest.raises(ConfigError, match=r"b\.conf:2: \[DEFAULT\] port: stands at .*api\.conf:2 already"):
        load("api", [first, written(tmp_path, "[DEFAULT]\nport = 5002\n", "b.conf")])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[DEFAULT]\nprot = 1\n", "api.conf:2: [DEFAULT] prot: unknown option; did you mean port?"),
        ("[DEFAULT]\nport = many\n", "api.conf:2: [DEFAULT] port: "),
        ("[DEFAULT]\nport = 70000\n", "api.conf:2: [DEFAULT] port: "),
        (
            "[DEFAULT]\nport = 5000  # as ever\n",
            "api.conf:2: [DEFAULT] port: '5000  # as ever' is no whole number; a comment behind a value is part of it",
        ),
        ("\ufeff[DEFAULT]\nport = 5000\n", "api.conf:1: begins with a byte-order mark; save it as UTF-8 without one"),
        ("[DEFAULT]\nmax_gap = nan\n", "api.conf:2: [DEFAULT] max_gap: is no number"),
        ("[DEFAULT]\nport = 1\nport = 2\n", "api.conf:3: [DEFAULT] port: stands at "),
        ("[DEFAULT]\n[default]\n", "api.conf:2: [default]: the section stands at "),
        ("[PDU]\n", "api.conf:1: [PDU]: unknown section"),
        ("[DEFAULT]\nrubbish\n", "api.conf:2: No ':' or '=' found"),
        ("[DEFAULT]\nsigning_key_file = $nowhere/key\n", "api.conf:2: [DEFAULT] signing_key_file: "),
        ("port = 1\n", "api.conf:1: a section such as [DEFAULT] must come first"),
        ("[DEFAULT]\nprobes_endpoint =\n", "api.conf:2: [DEFAULT] probes_endpoint: is missing"),
        (
            "[DEFAULT]\nprobes_endpoint = tcp://a:1, foo\n",
            "api.conf:2: [DEFAULT] probes_endpoint: 'foo' is no endpoint",
        ),
        ("[DEFAULT]\nprobes_endpoint = tcp://127.0.0.1\n", "api.conf:2: [DEFAULT] probes_endpoint: "),
        ("[DEFAULT]\nprobes_endpoint = tcp://a:99999\n", "api.conf:2: [DEFAULT] probes_endpoint: "),
    ],
)
def test_a_mistake_names_file_line_section_and_key(tmp_path, text, mistake):
    assert [each for each in mistakes_of(tmp_path, text) if each.startswith(mistake)]


def test_a_dollar_is_explained(tmp_path):
    assert "write $$" in mistakes_of(tmp_path, "[DEFAULT]\nsigning_key_file = $nowhere/key\n")[0]


def test_all_mistakes_come_at_once(tmp_path):
    assert len(mistakes_of(tmp_path, "[DEFAULT]\nport = many\nprot = 1\nthreads = 0\nlog_level = loud\n")) == 4


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.conf: cannot be read: No such file"):
        load("api", [tmp_path / "nowhere.conf"])
    (tmp_path / "latin.conf").write_bytes(b"[DEFAULT]\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load("api", [tmp_path / "latin.conf"])


def test_the_environment_overrides_and_is_named_when_it_is_wrong(tmp_path):
    path = written(tmp_path, "[DEFAULT]\nport = 5001\n[Lyon.PDU 1]\ndriver = a\n")
    reader = Reader("api", [path], {"KWAPI_PORT": "5002", "KWAPI_LYON_PDU_1__DRIVER": "b"})
    assert reader.conf.port == 5002
    assert reader.value("Lyon.PDU 1", DRIVER) == "b"
    with pytest.raises(ConfigError, match="KWAPI_PORT"):
        Reader("api", [path], {"KWAPI_PORT": "x"}).finish()


def test_state_is_kept_in_its_own_place_where_nothing_says_another(tmp_path):
    silent, other = written(tmp_path, "[DEFAULT]\n"), written(tmp_path, "[DEFAULT]\nstate_dir = /srv/k\n", "b.conf")
    checkout = {"KWAPI_DEFAULT_STATE_DIR": "/checkout/var"}
    assert Reader("api", [silent], {}).conf.state_dir == "/var/lib/kwapi"
    assert Reader("forwarder", [silent], {}).conf.curve_clients_dir == "/var/lib/kwapi-forwarder/clients"
    assert Reader("forwarder", [silent], checkout).conf.state_dir == "/checkout/var"
    conf = Reader("api", [silent], checkout).conf
    assert (conf.state_dir, conf.signing_key_file) == ("/checkout/var", "/checkout/var/signing.key")
    assert Reader("api", [other], checkout).conf.state_dir == "/srv/k"
    assert Reader("api", [other], {**checkout, "KWAPI_STATE_DIR": "/mine"}).conf.state_dir == "/mine"


def test_sections_keep_their_spelling_and_their_places(tmp_path):
    path = written(tmp_path, "[Lyon.PDU 1]\ndriver = snmp\nprobes =\n  a, ,\n  b\n[paris]\ndrivr = x\n", "drivers.conf")
    reader = Reader("drivers", [path])
    assert reader.sections == ["Lyon.PDU 1", "paris"]
    values = reader.values("Lyon.PDU 1", WATTMETER)
    assert (values["driver"], values["probes"], values["interval"]) == ("snmp", ["a", "", "b"], 1.0)
    assert not reader.mistakes
    reader.values("paris", WATTMETER)
    assert [mistake.split(": ")[1:3] for mistake in reader.mistakes] == [
        ["[paris] drivr", "unknown option; did you mean driver?"],
        ["[paris] driver", "is missing"],
        ["[paris] probes", "is missing"],
    ]


def test_arguments(tmp_path):
    assert [str(path) for path in parse_arguments("api", []).files] == ["/etc/kwapi/api.conf"]
    assert parse_arguments("rrd", ["--config-dir", "/x"]).files[0].as_posix() == "/x/rrd.conf"
    assert parse_arguments("rrd", ["--config-file", "/x/y", "--check-config"]).check_only


@pytest.mark.parametrize("daemon", OPTIONS)
def test_every_option_has_a_help_and_a_default(daemon):
    for option in OPTIONS[daemon]:
        assert isinstance(option, cfg.Opt)
        assert option.help
        assert option.default is not None


def test_files_that_nobody_named_are_not_read(tmp_path, monkeypatch):
    (tmp_path / ".kwapi" / "kwapi.conf.d").mkdir(parents=True)
    (tmp_path / ".kwapi" / "kwapi.conf.d" / "a.conf").write_text("[DEFAULT]\nport = 5003\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("api", [written(tmp_path, "[DEFAULT]\n")]).port == 5000


def dropped_in(tmp_path, name, text):
    directory = tmp_path / "drivers.conf.d"
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)
    return tmp_path / "drivers.conf"


def test_the_files_of_a_drop_in_directory_are_read_too(tmp_path):
    written(tmp_path, "[DEFAULT]\nworkers = 2\n[a]\n", "drivers.conf")
    dropped_in(tmp_path, "b.conf", "[b]\n")
    dropped_in(tmp_path, "notes.txt", "nothing")
    path = dropped_in(tmp_path, "c.conf", "[DEFAULT]\nmetrics_port = 1\n[c]\n")
    reader = Reader("drivers", [path], {})
    assert sorted(reader.sections) == ["a", "b", "c"]
    conf = reader.finish()
    assert (conf.workers, conf.metrics_port, conf.config_file[-1]) == (2, 1, str(path))


def test_a_section_stands_in_one_file_only(tmp_path):
    written(tmp_path, "[a]\n", "drivers.conf")
    reader = Reader("drivers", [dropped_in(tmp_path, "b.conf", "[A]\n[DEFAULT]\nworker = 1\n")], {})
    places = [mistake.replace(f"{tmp_path}/", "") for mistake in reader.mistakes]
    assert places == [
        "drivers.conf:1: [a]: the section stands at drivers.conf.d/b.conf:1 already",
        "drivers.conf.d/b.conf:3: [DEFAULT] worker: unknown option; did you mean workers?",
    ]


def test_what_a_line_holds_that_is_no_option_is_not_shown(tmp_path):
    assert mistakes_of(tmp_path, "[DEFAULT]\nmy 5ecret words\n") == ["api.conf:2: No ':' or '=' found in assignment"]
