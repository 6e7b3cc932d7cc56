"""UPSes and PDUs behind a NUT server (upsd of Network UPS Tools), which has drivers of its own for hundreds of models.

The first name is the whole device, the next ones are its outlets in order; ``NAME@outlet.group.2``, or another prefix
of variables, takes what stands there.
"""

from collections.abc import Iterator

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.nut.client import Target, Upsd
from kwapi.drivers.nut.variables import PREFIX, SAME_AS_WHOLE, WHOLE, Variables, measure, outlets
from kwapi.drivers.places import probes_of
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from kwapi.option_types import ReadableFile


class Nut(Driver):
    options = (
        cfg.HostAddressOpt("host", default="127.0.0.1", help="Name or address of the NUT server."),
        cfg.PortOpt("port", default=3493, min=1, help="TCP port of upsd."),
        cfg.StrOpt("ups", default="", help="Name of the UPS on that server; may be left out where there is only one."),
        cfg.StrOpt("user", default="", help="User of upsd.users, for servers that ask for one."),
        cfg.StrOpt("password", default="", secret=True, help="Password of the user."),
        cfg.BoolOpt(
            "login",
            default=False,
            help="Log in to the UPS, which checks user and password. upsd then counts Kwapi among the machines that it "
            "feeds, for which the shutdown of the UPS waits.",
        ),
        cfg.BoolOpt("tls", default=False, help="Encrypt by STARTTLS, and check the certificate of the server."),
        cfg.Opt(
            "ca_file",
            type=ReadableFile(),
            default="",
            help="Certificates to trust, PEM, instead of those of the system.",
        ),
        cfg.BoolOpt(
            "estimate",
            default=False,
            help="Where the UPS tells no watts, take its load in percent times its nominal power: often 10 % wrong.",
        ),
        cfg.FloatOpt("timeout", default=2.0, min=0.05, max=3.0, help="Seconds to wait for a whole answer."),
    )  # fmt: skip

    host: str
    port: int
    ups: str
    user: str
    password: str
    login: bool
    tls: bool
    ca_file: str
    estimate: bool
    timeout: float

    _upsd: Upsd  # from open() to close()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        for option in ("ups", "user", "password"):
            value = getattr(self, option)
            if any(not character.isprintable() for character in value) or (option == "ups" and " " in value):
                yield option, "contains what may not stand in a request"
        if self.login and not self.user:
            yield "login", "needs a user"
        if self.password and not self.user:
            yield "user", "is empty, but there is a password"
        if self.ca_file and not self.tls:
            yield "ca_file", "is for tls = true only"
        for name in filter(None, self.probes):
            probe, _, prefix = name.partition("@")
            if not probe:
                yield "probes", f"{name!r} names variables, but not the probe"
            if "@" in name and not PREFIX.fullmatch(prefix):
                yield "probes", f"{name!r}: {prefix!r} is none of outlet.1, outlet.group.1, ups, output.L1 ..."

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order, without prefixes and without the places that are skipped."""
        return probes_of(self.probes)

    def open(self) -> None:
        """Connect, and find out which UPS and which of its outlets are meant."""
        self._upsd = Upsd(
            Target(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                tls=self.tls,
                ca_file=self.ca_file,
                timeout=self.timeout,
            ),
            names=self.names,
        )
        self._name = self.ups or self._only_one()
        if self.login:
            self._upsd.login(self._name)
        self._bound = self._bind(self._upsd.variables(self._name))
        self._upsd.ready()

    def read(self) -> list[Measurement]:
        """Return what the UPS measures now."""
        variables = self._upsd.variables(self._name)
        self.mark_answer()
        measured = [measure(probe, prefix, variables, self.estimate) for probe, prefix in self._bound]
        measurements = [measurement for measurement in measured if measurement]
        if self._bound and not measurements:
            known = sorted(name for name in variables if name.endswith((".power", ".load", ".nominal")))
            raise DeviceError(
                f"{self._name} on {self._upsd.name} tells no watts; it has {', '.join(known) or 'nothing'}"
            )
        return measurements

    def close(self) -> None:
        """Disconnect."""
        if upsd := vars(self).pop("_upsd", None):
            upsd.close()

    def _only_one(self) -> str:
        names = self._upsd.list_ups()
        if len(names) != 1:
            raise DeviceError(f"{self._upsd.name} has {', '.join(names) or 'no UPS'}; set ups in its section")
        return names[0]

    def _bind(self, variables: Variables) -> list[tuple[str, str]]:
        """Return the names with the prefixes of the variables they mean."""
        ordered = iter([WHOLE, *outlets(variables)])
        bound: dict[str, tuple[str, str]] = {}  # by place
        for name in self.probes:
            probe, _, prefix = name.partition("@")
            if not prefix:
                try:
                    prefix = next(ordered)
                except StopIteration:
                    raise DeviceError(
                        self._no_place(f"more names than outlets: {name!r} is left over", variables)
                    ) from None
            elif not any(variable.startswith(f"{prefix}.") for variable in variables):
                raise DeviceError(self._no_place(f"{name!r} matches no variable", variables))
            if not probe:
                continue
            place = WHOLE if prefix in SAME_AS_WHOLE else prefix
            if place in bound:
                raise DeviceError(f"{name!r} measures what {bound[place][0]!r} does, and would be counted twice")
            bound[place] = probe, prefix
        return list(bound.values())

    def _no_place(self, problem: str, variables: Variables) -> str:
        return f"{problem}; {self._name} on {self._upsd.name} has {', '.join(outlets(variables)) or 'no outlets'}"
