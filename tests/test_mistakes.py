import pytest
from oslo_config import cfg, types

from kwapi.config import Reader
from kwapi.errors import ConfigError
from kwapi.mistakes import in_order
from kwapi.option_types import ReadableFile


@pytest.mark.parametrize(
    ("option", "value", "mistake"),
    [
        (cfg.IntOpt("x"), "abc", "'abc' is no whole number"),
        (cfg.FloatOpt("x", default=1.0), "", "is empty"),
        (cfg.FloatOpt("x"), "fast", "'fast' is no number"),
        (cfg.BoolOpt("x"), "maybe", "'maybe' is neither true nor false"),
        (cfg.StrOpt("x", choices=["N", "E"]), "O", "'O' is none of N, E"),
        (cfg.IntOpt("x", choices=[2400, 4800]), "1", "1 is none of 2400, 4800"),
        (cfg.PortOpt("x"), "70000", "must be at most 65535"),
        (cfg.FloatOpt("x", min=0.1), "0", "must be at least 0.1"),
        (cfg.HostAddressOpt("x"), "", "is empty"),
        (cfg.HostAddressOpt("x"), "rack 1!", "'rack 1!' is no address and no name of a host"),
        (cfg.URIOpt("x", schemes=["http"]), "shelly", "is no address such as http://host/page"),
        (cfg.Opt("x", type=types.Dict(types.Float())), "a", "must be NAME:VALUE, or several of them between commas"),
        (cfg.Opt("x", type=types.Dict(types.Float())), "a:b", "'b' is no number"),
        (cfg.Opt("x", type=ReadableFile()), "/nowhere.pem", "/nowhere.pem cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_in_our_words(tmp_path, option, value, mistake):
    path = tmp_path / "drivers.conf"
    path.write_text(f"[a]\nx = {value}\n")
    reader = Reader("drivers", [path], {})
    reader.value("a", option)
    with pytest.raises(ConfigError) as caught:
        reader.finish()
    assert caught.value.mistakes == (f"{path}:2: [a] x: {mistake}",)


def test_a_value_of_the_environment_is_explained_too(tmp_path):
    path = tmp_path / "api.conf"
    path.write_text("[DEFAULT]\n")
    with pytest.raises(ConfigError, match="port: 'x' is no whole number \\(from the environment, KWAPI_PORT\\)$"):
        Reader("api", [path], {"KWAPI_PORT": "x"}).finish()


@pytest.mark.parametrize("value", ["", "/dev/null"])
def test_a_file_may_be_left_empty(tmp_path, value):
    assert ReadableFile()(value) == value


def test_mistakes_come_by_file_and_line():
    mistakes = ["b:2: x", "a:10: x", "a:9: z", "a:9: y", "c: cannot be read"]
    assert in_order(mistakes) == ["c: cannot be read", "a:9: z", "a:9: y", "a:10: x", "b:2: x"]
