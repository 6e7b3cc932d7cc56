"""TP-Link Kasa and Tapo plugs, strips and switches with an energy meter, asked in the local network, not the cloud.

``probes`` names the outlets in order; an empty name skips one. Which there are is found out when the driver opens.
"""

from collections.abc import Iterator

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.kasa.iot import Iot
from kwapi.drivers.kasa.klap import Klap
from kwapi.drivers.kasa.smart import Smart
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement

IOT, SMART = "iot", "smart"


class Kasa(Driver):
    options = (
        cfg.HostAddressOpt("host", required=True, help="Name or address of the plug or strip."),
        cfg.StrOpt(
            "protocol",
            default=IOT,
            choices=[IOT, SMART],
            help="iot: Kasa plugs such as HS110, KP115 and HS300, by TCP port 9999, which need no password; smart: "
            "Tapo plugs such as P110, and newer Kasa ones such as EP25, by KLAP over HTTP; firmware from 2025 on only "
            "speaks it if the Tapo app says so: Me, Third-Party Services, Third-Party Compatibility.",
        ),
        cfg.PortOpt("port", default=0, help="TCP port; 0 is the usual one, 9999 or 80."),
        cfg.StrOpt("user", default="", help="smart: user of the TP-Link account, an e-mail address; case matters."),
        cfg.StrOpt("password", default="", secret=True, help="smart: password of the TP-Link account."),
        cfg.FloatOpt("timeout", default=3.0, min=0.1, max=4.0, help="Seconds for all answers of one poll together."),
    )  # fmt: skip

    host: str
    protocol: str
    port: int
    user: str
    password: str
    timeout: float

    _device: Iot | Smart  # from open() on

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        for option in ("user", "password"):
            if self.protocol == SMART and not getattr(self, option):
                yield option, "is empty, and protocol = smart needs it"
            elif self.protocol == IOT and getattr(self, option):
                yield option, "is for protocol = smart only"

    def open(self) -> None:
        """Find out which outlets the device has."""
        self._device = self._new_device()
        outlets = self._device.outlets(self.monotonic_clock() + self.timeout)
        if len(self.probes) > len(outlets):
            raise DeviceError(f"{self._device.where} has {len(outlets)} outlets for {len(self.probes)} names")
        self._bound = [(name, outlet) for name, outlet in zip(self.probes, outlets, strict=False) if name]

    def read(self) -> list[Measurement]:
        """Return what each outlet measures now."""
        end = self.monotonic_clock() + self.timeout
        return [self._measure(name, outlet, end) for name, outlet in self._bound]

    def _measure(self, name: str, outlet: str, end: float) -> Measurement:
        values = self._device.measure(outlet, end)
        if "watts" not in values and "kwh" not in values:
            raise DeviceError(f"{self._device.where} tells neither power nor energy of {name}")
        return Measurement(name, level="outlet", **values)

    def _new_device(self) -> Iot | Smart:
        names, clock = self.names, self.monotonic_clock
        if self.protocol == IOT:
            return Iot(self.host, self.port, names=names, clock=clock)
        return Smart(Klap(self.host, self.port, self.user, self.password, names=names, clock=clock))
