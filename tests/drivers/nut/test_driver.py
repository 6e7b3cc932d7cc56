"""The driver against a small upsd over TCP on loopback; what real devices say, by tables; faults."""

import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kwapi.drivers.nut import client
from kwapi.drivers.nut.client import Target, parse_items, quote
from kwapi.drivers.nut.driver import Nut
from kwapi.drivers.nut.variables import measure, outlets, whole_watts
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root

DEFAULTS = {option.dest: option.default for option in Nut.options} | {"interval": 1.0, "timeout": 0.5}
RACK = {
    "device.type": "ups",
    "ups.realpower": "504",
    "ups.power": "611",
    "output.voltage": "235.0",
    "output.current": "2.60",
    "output.powerfactor": "0.82",
    "output.frequency": "49.9",
    "outlet.1.realpower": "162",
    "outlet.2.realpower": "68",
    "outlet.10.realpower": "7",
}
WHOLE = Measurement("rack", 504.0, 611.0, 235.0, 2.6, 0.82, 49.9)


class Upsd(threading.Thread):
    """A server of one UPS. ``answers`` takes a request's place in it: bytes to send, or None to stay silent."""

    def __init__(self, variables=None, ups="rack", certificate=None):
        super().__init__(daemon=True)
        self.variables = dict(RACK if variables is None else variables)
        self.ups = ups
        self.certificate = certificate
        self.answers = {}
        self.requests = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._listener.close()

    def run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                self.serve(connection)
            except OSError:  # the client left
                connection.close()

    def serve(self, connection):
        while True:
            received = b""
            while not received.endswith(b"\n"):
                if not (part := connection.recv(4096)):
                    connection.close()
                    return
                received += part
            request = received.decode().rstrip("\n")
            self.requests.append(request)
            answer = self.answers.get(request, self.answers.get(request.split()[0], self.answer(request)))
            if answer in (b"", RESET):
                if answer:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                return
            if answer:
                connection.sendall(answer)
            if request == "STARTTLS" and self.certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificate)
                connection = context.wrap_socket(connection, server_side=True)

    def answer(self, request):
        if request == "LIST UPS":
            return f'BEGIN LIST UPS\nUPS {self.ups} "A rack"\nEND LIST UPS\n'.encode()
        if request == f"LIST VAR {self.ups}":
            lines = "".join(f"VAR {self.ups} {name} {quote(value)}\n" for name, value in self.variables.items())
            return f"BEGIN {request}\n{lines}END {request}\n".encode()
        if request.startswith("LIST VAR"):
            return b"ERR UNKNOWN-UPS\n"
        if request == "STARTTLS":
            return b"OK STARTTLS\n" if self.certificate else b"ERR FEATURE-NOT-CONFIGURED\n"
        return b"OK\n"


def make(port=1, probes=("rack",), **options):
    return Nut("lyon.rack", {**DEFAULTS, "port": port, "probes": list(probes), **options})


def read(server, probes=("rack",), **options):
    driver = make(server.port, probes, **options)
    try:
        driver.open()
        return driver.read()
    finally:
        driver.close()


def test_names_are_the_whole_device_and_its_outlets_and_an_empty_one_skips_one():
    with Upsd() as server:
        assert read(server, ["rack", "web1", "", "db1"]) == [
            WHOLE,
            Measurement("web1", watts=162.0, level="outlet"),
            Measurement("db1", watts=7.0, level="outlet"),
        ]
        assert read(server, ["", "", "web2"]) == [Measurement("web2", watts=68.0, level="outlet")]
    assert server.requests[:2] == ["LIST UPS", "LIST VAR rack"]


def test_one_connection_serves_all_polls():
    with Upsd() as server:
        driver = make(server.port, ups="rack")
        driver.open()
        for _ in range(3):
            assert driver.read() == [WHOLE]
            assert driver.answered_at is not None
        driver.close()
        driver.close()
    assert server.connections == 1
    assert server.requests == ["LIST VAR rack"] * 4


def test_a_name_may_say_which_variables_it_means():
    variables = {"device.type": "ats", "outlet.group.1.realpower": "1701", "outlet.group.1.current": "7.70"}
    with Upsd(variables) as server:
        driver = make(server.port, ["ats@outlet.group.1"])
        assert driver.probe_names() == ["ats"]
        driver.open()
        assert driver.read() == [Measurement("ats", watts=1701.0, amps=7.7, level="bank")]
        driver.close()


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (list("abcde"), "more names than outlets: 'e' is left over; rack on .* has outlet.1, outlet.2, outlet.10"),
        (["a@outlet.3"], "'a@outlet.3' matches no variable; rack on .* has outlet.1, "),
    ],
)
def test_a_name_without_a_place_is_an_error_that_lists_the_outlets(probes, message):
    with Upsd() as server, pytest.raises(DeviceError, match=message):
        read(server, probes)


def test_a_ups_that_tells_no_watts_is_an_error_that_says_what_it_tells():
    variables = {"ups.load": "10", "ups.realpower.nominal": "2700", "ups.status": "OL"}
    with Upsd(variables) as server:
        with pytest.raises(DeviceError, match="tells no watts; it has ups.load, ups.realpower.nominal"):
            read(server)
        assert read(server, estimate=True) == [Measurement("rack", watts=270.0)]


@pytest.mark.parametrize(
    ("variables", "watts"),
    [
        ({}, None),
        ({"ups.power": "500"}, None),  # VA
        ({"ups.load": "50", "ups.realpower.nominal": "900"}, None),  # only where an estimate is allowed
        ({"ups.realpower": "100", "output.realpower": "90"}, 100.0),
        ({"output.realpower": "90", "ups.L1.realpower": "80"}, 90.0),
        ({f"ups.L{n}.realpower": "10" for n in (1, 2, 3)}, 30.0),
        ({f"ups.L{n}.realpower": "10" for n in (1, 2)}, None),  # a phase is unknown, so the sum is
        ({f"output.L{n}.realpower": "10" for n in (1, 2, 3)}, 30.0),
        ({"ups.realpower": " 13.7"}, 13.7),
        ({"ups.realpower": "n/a"}, None),
        ({"ups.realpower": "-5"}, None),
        ({"ups.realpower": "nan", "output.realpower": "5"}, 5.0),
        ({"ups.realpower": "inf"}, None),
        ({"ups.realpower": "0", "ups.load": "0.2"}, 0.0),
        ({"ups.realpower": "0", "ups.load": "30"}, None),
        ({"ups.realpower": "0", "ups.load": "30", "output.realpower": "300"}, 300.0),
        ({"ups.realpower": "0", "output.current": "4.1"}, None),
        ({"input.realpower": "60"}, None),  # of a UPS: its own losses and its battery are in there
        ({"device.type": "pdu", "input.realpower": "60"}, 60.0),
        ({"device.type": "pdu", "outlet.realpower": "55"}, 55.0),
        ({"device.type": "pdu"} | {f"input.L{n}.realpower": "20" for n in (1, 2, 3)}, 60.0),
    ],
)
def test_which_variables_are_watts(variables, watts):
    assert whole_watts(variables) == watts


@pytest.mark.parametrize(
    ("variables", "apparent"),
    [
        ({"ups.realpower": "504", "ups.power": "611"}, 611.0),
        ({"ups.realpower": "324", "ups.power": "324"}, 324.0),
        ({"ups.realpower": "1810", "ups.power": "1.82"}, None),  # kVA
        ({"output.realpower": "50", "output.power": "0.08"}, None),
        ({"output.voltage": "230", "output.current": "2", "ups.power": "462"}, 462.0),
        ({"ups.power": "462"}, None),  # nothing vouches for it
        ({"ups.realpower": "504", "ups.power": "611", "output.power": "600"}, 600.0),
    ],
)
def test_apparent_power_is_given_where_it_is_vouched_for_and_never_as_watts(variables, apparent):
    measured = measure("a", "", variables)
    assert (measured.volt_amperes if measured else None) == apparent
    assert whole_watts({key: value for key, value in variables.items() if "realpower" not in key}) is None


@pytest.mark.parametrize(
    ("variables", "quantity", "value"),
    [
        ({"output.voltage": "9812.0"}, "volts", None),
        ({"output.voltage": "0.0"}, "volts", None),
        ({"output.current": "0.0"}, "amps", None),
        ({"output.powerfactor": "0.00"}, "power_factor", None),
        ({"output.powerfactor": "72.00"}, "power_factor", 0.72),
        ({"output.powerfactor": "120"}, "power_factor", None),
        ({"output.frequency": "5.0"}, "hertz", None),
        ({"output.frequency": "60.08"}, "hertz", 60.08),
        ({"experimental.output.energy": "504299"}, "kwh", 504.299),
    ],
)
def test_numbers_that_cannot_be_are_no_values(variables, quantity, value):
    assert getattr(measure("a", "", {"ups.realpower": "100", **variables}), quantity) == value


def test_an_outlet_has_values_of_its_own():
    variables = {
        "outlet.2.realpower": "68",
        "outlet.2.power": "94",
        "outlet.2.powerfactor": "72.00",
        "outlet.2.current": "0.4",
        "outlet.2.voltage": "235",
        "outlet.realpower": "274",
        "outlet.count": "2",
        "outlet.group.1.realpower": "9",
    }
    assert outlets(variables) == ["outlet.2"]
    assert measure("a", "outlet.2", variables) == Measurement("a", 68.0, 94.0, 235.0, 0.4, 0.72, level="outlet")
    assert measure("a", "outlet.1", variables) is None
    assert measure("a", "input.L1", {"input.L1.realpower": "61"}) == Measurement("a", watts=61.0, level="phase")
    assert measure("a", "input", {"input.realpower": "61"}) == Measurement("a", watts=61.0, level="inlet")


def test_quotes_and_backslashes_travel_both_ways():
    assert parse_items(['VAR rack ups.mfr "A \\"quoted\\" \\\\ name"', 'UPS b ""']) == {
        "ups.mfr": 'A "quoted" \\ name',
        "b": "",
    }
    assert quote('se"cr\\et') == '"se\\"cr\\\\et"'


@pytest.mark.parametrize(
    "line", ["", "VAR rack ups.load", 'VAR rack ups.load "1', 'TYPE rack a "b"', 'VAR rack a "b" c']
)
def test_a_malformed_line_is_an_error(line):
    with pytest.raises(DeviceError, match="malformed line"):
        parse_items([line])


BEGIN = b"BEGIN LIST VAR rack\n"
RESET = b"reset"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "LIST VAR rack: no whole answer within 0.1 s"),
        (BEGIN, "LIST VAR rack: no whole answer within 0.1 s"),
        (BEGIN + b'VAR rack ups.realpower "1', "no whole answer"),
        (b"", "LIST VAR rack: the server closed the connection"),
        (RESET, "LIST VAR rack: .*reset"),
        (b"ERR DATA-STALE\n", "LIST VAR rack: DATA-STALE"),
        (b"ERR DRIVER-NOT-CONNECTED\n", "DRIVER-NOT-CONNECTED"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered 'HTTP/1.1 400 Bad Request'"),
        (BEGIN + b"\xff\xfe\nEND LIST VAR rack\n", "malformed line"),
        (BEGIN + b"x" * 70000, "a line without end"),
        (BEGIN + b'VAR rack a "b"\n' * 10_001, "an answer without end"),
        (BEGIN + b"END LIST VAR rack\n", "tells no watts; it has nothing"),
    ],
)
def test_an_unusable_answer_is_an_error_and_the_next_connection_goes_on(answer, message):
    with Upsd() as server:
        driver = make(server.port, timeout=0.1)
        driver.open()
        server.answers["LIST VAR rack"] = answer
        with pytest.raises(DeviceError, match=message):
            driver.read()
        driver.close()
        server.answers.clear()
        driver.open()
        assert driver.read() == [WHOLE]
        driver.close()


def test_the_deadline_is_that_of_the_whole_answer():
    times = iter([0.0, 1.9, 2.1])  # when it is asked, before the first line, and after that line came
    target = Target("127.0.0.1", 0, user="", password="", tls=False, ca_file="", timeout=2.0)
    with Upsd() as server:
        server.answers["LIST VAR rack"] = BEGIN
        upsd = client.Upsd(replace(target, port=server.port), clock=lambda: next(times))
        with pytest.raises(DeviceError, match="no whole answer within 2 s"):
            upsd.variables("rack")
        upsd.close()


def test_a_server_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DeviceError, match=rf"127.0.0.1:{port}: .*refused"):
        make(port).open()


def test_a_ups_that_is_not_there_or_one_of_several_is_told():
    with Upsd() as server:
        with pytest.raises(DeviceError, match="LIST VAR cellar: UNKNOWN-UPS"):
            read(server, ups="cellar")
        server.answers["LIST UPS"] = b'BEGIN LIST UPS\nUPS a ""\nUPS b ""\nEND LIST UPS\n'
        with pytest.raises(DeviceError, match=r"has a, b; set ups in its section"):
            read(server)


def test_user_and_password_are_told_and_login_only_where_wanted():
    with Upsd() as server:
        read(server, user="kwapi", password='se"cret', ups="rack")
        assert server.requests[:3] == ['USERNAME "kwapi"', 'PASSWORD "se\\"cret"', "LIST VAR rack"]
        read(server, user="kwapi", password="x", ups="rack", login=True)
        assert "LOGIN rack" in server.requests


def test_an_answer_that_is_none_is_told():
    with Upsd() as server:
        server.answers["LOGIN"] = b"WELL\n"
        with pytest.raises(DeviceError, match="LOGIN rack: answered 'WELL'"):
            read(server, user="kwapi", password="x", login=True)


@pytest.mark.parametrize(("request_", "error"), [("LOGIN", b"ACCESS-DENIED"), ("PASSWORD", b"INVALID-PASSWORD")])
def test_refused_credentials_are_told_apart_and_not_shown(request_, error):
    with Upsd() as server:
        server.answers[request_] = b"ERR " + error + b"\n"
        with pytest.raises(CredentialsRefused, match=error.decode()) as raised:
            read(server, user="kwapi", password="hunter2", login=True)
    assert "hunter2" not in str(raised.value)


@pytest.fixture
def certificate(tmp_path):
    """Return the path of a certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upsd")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path: Path = tmp_path / "upsd.pem"
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, plain, serialization.NoEncryption()))
    return str(path)


def test_tls_is_used_and_the_certificate_is_checked(certificate):
    with Upsd(certificate=certificate) as server:
        assert read(server, tls=True, ca_file=certificate, user="kwapi") == [WHOLE]
        assert server.requests[:2] == ["STARTTLS", 'USERNAME "kwapi"']
        with pytest.raises(DeviceError, match="TLS: .*certificate verify failed"):
            read(server, tls=True)
        with pytest.raises(DeviceError, match="TLS: .*No such file"):
            read(server, tls=True, ca_file="/nonexistent.pem")
    with Upsd() as server, pytest.raises(DeviceError, match="STARTTLS: FEATURE-NOT-CONFIGURED"):
        read(server, tls=True)
    assert server.requests == ["STARTTLS"], "nothing follows in the clear"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, None),
        ({"probes": ["a@outlet.group.2", "b@output.L1", "c@ups", ""]}, None),
        ({"ups": "two words"}, ("ups", "contains what may not stand in a request")),
        ({"user": "a\nLOGIN rack"}, ("user", "contains what may not stand in a request")),
        ({"login": True}, ("login", "needs a user")),
        ({"password": "x"}, ("user", "is empty, but there is a password")),
        ({"ca_file": "/x"}, ("ca_file", "is for tls = true only")),
        ({"probes": ["a@outlet"]}, ("probes", "'a@outlet': 'outlet' is none of outlet.1, ")),
        ({"probes": ["@ups"]}, ("probes", "'@ups' names variables, but not the probe")),
    ],
)
def test_mistakes_of_a_section_are_told(options, problem):
    found = list(make(**options).problems())
    if problem is None:
        assert found == []
    else:
        assert any(name == problem[0] and text.startswith(problem[1]) for name, text in found), found


# Watts and volt-amperes of every dump, read off it by hand; None where it has none that could be true.
DUMPS = {
    "APC__AP7724__snmp-ups__2.7.4.1__01": (None, None),  # outlet groups only
    "Dell__EqualLogic_FS7500_BPS__usbhid-ups__2.4.3__01": (129, 149),
    "Dell__UPS_RackTower_2700W_HV__usbhid-ups__2.7.4__01": (132, 138),
    "Dell__UPS_RackTower_2700W_HV__usbhid-ups__2.7.4__02": (245, 278),
    "Eaton__5PX_2000__usbhid-ups__2.7.4__01": (504, 611),
    "Eaton__5PX__snmp-ups__2.7.4__02": (324, 324),
    "Eaton__5P_650__usbhid-ups__2.7.2__01": (0, 0),
    "Eaton__5S1500LCD__usbhid-ups__2.6.4__01": (31, 55),
    "Eaton__5SC_2200i_RT__usbhid-ups__2.7.4__01": (337, 393),
    "Eaton__9135_6000__usbhid-ups__2.4.1__01": (1609, 1864),
    "Eaton__9395__snmp-ups__2.4.3__01": (117298, None),  # its ups.power is L1's
    "Eaton__93PM__snmp-ups__2.7.4__01": (0, 0),
    "Eaton__93PS__snmp-ups__2.7.3-167-g0a00ddb__01": (0, 0),
    "Eaton__9PX_2000_RT__mge-shut__2.7.2__01": (150, 180),
    "Eaton__9SX_5000i__usbhid-ups__2.7.2__01": (226, 264),
    "Eaton__EPDU_MI_38U-A__snmp-ups__2.7.4__01": (6, 18),
    "Eaton__Ellipse_PRO_650__usbhid-ups__2.7.2__01": (40, 65),
    "Eaton__PW5125_1500i__bcmxcp__2.6.4__01": (96, 175),
    "Eaton__PW9130_1000VA-R_1000i__bcmxcp__2.7.2.5__01": (158, 226),
    "Eaton__Powerware_5115_RM_1500i__bcmxcp_usb__2.7.2__01": (0, 3),  # load 0.2 %
    "Eaton__Powerware_5130__usbhid-ups__2.4.3__01": (108, 144),
    "Eaton__Powerware_5130__usbhid-ups__2.4.3__03": (918, 995),
    "Eaton__Powerware_9130__bcmxcp__2.7.1__01": (97, 121),
    "Eaton__Powerware_9130__usbhid-ups__2.6.4__02": (58, 100),
    "Eaton__Powerware_9130__usbhid-ups__2.6.5__03": (118, 210),
    "Eaton__ePDU_Managed_Aphel__snmp-ups__2.6.1__01": (0, None),
    "Exide__NetUPS_SE_PRC1500i__upscode2__2.2.2__01": (50, None),  # kVA
    "Grafenthal__PR-3000-HS__snmp-ups__2.6.5__01": (None, None),  # 0 W at 9 % load
    "HP__R12000-3UPS__snmp-ups__2.7.1__01": (308.4, None),
    "Huawei__UPS2000-G-3KRTS__huawei-ups2000__2.7.4.1__01": (200, 300),
    "Liebert__GXT2-1000RT230__liebert-esp2__2.4.3__01": (96, 162),
    "Liebert__GXT2-1000RT230__liebert-esp2__2.4.3__02": (81, 177),
    "Liebert__GXT2-1000RT230__liebert-esp2__2.4.3__05": (83, 178),
    "Liebert__GXT2-3000RT230__liebert-esp2__2.6.2__01": (366, 513),
    "Liebert__NXe_20kVA__liebert-esp2__2.4.3__01": (None, None),  # 0 W at 4.1 A
    "Liebert__NXe_20kVA__liebert-esp2__2.4.3__02": (3000, None),
    "MGE_UPS_SYSTEMS__Pulsar_1500__usbhid-ups__2.4.3__01": (223, 294),
    "Powerware__PW5125__bcmxcp__2.7.4__01": (132, 205),
    "Raritan__PX2-1486__snmp-ups__2.7.4-12-gf1a0d64__01": (3, 10),
    "Riello__IPG_600__riello_usb__2.7.4__01": (0, None),  # load 0 %
    "Riello__MPT60__riello_ser__2.6.5__01": (None, None),  # 0 W at 90 % load
    "Riello__Sentinel_SDL_6000-7__snmp-ups__2.2.2__01": (16.8, 168),
    "Riello__VSD3000__riello_usb__2.6.5__01": (None, None),  # 0 W at 10 % load
}


def parse_dump(text):
    """Return the variables of an upsc dump, without the comments that were added to it."""
    pairs = (line.partition("#")[0].partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def test_every_dump_says_what_it_says():
    directory = recordings_root() / "nut"
    found = {}
    for path in sorted(directory.glob("*.dev")):
        measured = measure("a", "", parse_dump(path.read_text("utf-8")))
        found[path.stem] = (measured.watts, measured.volt_amperes) if measured else (None, None)
        if measured:
            assert measured.volts is None or 100 < measured.volts < 260, path
            assert measured.hertz is None or 48 < measured.hertz < 62, path
    assert found == DUMPS


@pytest.mark.parametrize(
    ("dump", "watts"),
    [
        ("Eaton__5PX_2000__usbhid-ups__2.7.4__01", [162.0, 68.0]),
        ("Eaton__ePDU_Managed_Aphel__snmp-ups__2.6.1__01", [0.0] * 4),
        ("Eaton__EPDU_MI_38U-A__snmp-ups__2.7.4__01", [None] * 42),
        ("Raritan__PX2-1486__snmp-ups__2.7.4-12-gf1a0d64__01", [None] * 24),
    ],
)
def test_outlets_of_dumps(dump, watts):
    variables = parse_dump((recordings_root() / "nut" / f"{dump}.dev").read_text("utf-8"))
    measured = [measure("a", outlet, variables) for outlet in outlets(variables)]
    assert [each.watts if each else None for each in measured] == watts


def test_outlet_groups_of_a_dump():
    text = (recordings_root() / "nut" / "APC__AP7724__snmp-ups__2.7.4.1__01.dev").read_text("utf-8")
    groups = [measure("a", f"outlet.group.{number}", parse_dump(text)) for number in (1, 2, 3)]
    assert [group.watts for group in groups] == [1701.0, 884.0, 839.0]
