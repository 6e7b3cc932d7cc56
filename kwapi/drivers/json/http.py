"""Devices with a page of JSON, read by profile (profile.py) or by paths of the configuration (channel.py).

``probes`` names the device's channels in order; an empty name skips one. Which channels there are is found out when the
driver opens, so that one that vanishes for a while does not shift the others.
"""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.json import profile as profiles
from kwapi.drivers.json.channel import MISSING, find_channels, look_up, measure, parse_document, parse_path
from kwapi.drivers.json.http_client import HttpClient, QueryAuth
from kwapi.drivers.json.options import GENERIC, LINES, lines_of, profile_problems
from kwapi.drivers.json.profile import AUTH, JsonProfile
from kwapi.drivers.network import silence_http, tls_context
from kwapi.drivers.profiles import PROFILE_DIR
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from kwapi.option_types import ReadableFile


class HttpJson(Driver):
    options = (
        cfg.URIOpt(
            "url",
            required=True,
            schemes=["http", "https"],
            help="Address of the device, such as http://plug1; with profile = generic that of the page.",
        ),
        cfg.StrOpt("profile", default=GENERIC, help="Device family: shelly1, shelly2, tasmota; or generic."),
        PROFILE_DIR,
        cfg.StrOpt("user", default="", help="User, if the device asks for one; Shelly devices know admin only."),
        cfg.StrOpt("password", default="", secret=True, help="Password of the user."),
        cfg.StrOpt(
            "auth",
            choices=AUTH,
            help="How user and password are sent; query: in the address. Without it as the profile says, else basic.",
        ),
        cfg.Opt(
            "ca_file",
            type=ReadableFile(),
            help="File with the certificates to trust for https, instead of the system's.",
        ),
        cfg.BoolOpt("verify", default=True, help="https: check the certificate of the device. Do not switch this off."),
        cfg.FloatOpt("timeout", default=3.0, min=0.1, max=4.0, help="Seconds for one page, from first to last byte."),
        *LINES,
    )

    url: str
    profile: str
    profile_dir: str
    user: str
    password: str
    auth: str | None
    ca_file: str | None
    verify: bool
    timeout: float
    level: str

    @classmethod
    def open_shared(cls) -> None:
        """Have nothing logged of what is asked."""
        silence_http()

    @classmethod
    def secrets(cls, values: Mapping[str, Any]) -> list[str]:
        """Return what nobody may be shown: an address may hold a key."""
        return [*super().secrets(values), *(value for _, value in parse_qsl(urlsplit(values.get("url") or "").query))]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        yield from self._address_problems()
        yield from profile_problems(self, "http", self.profile, self.profile_dir)

    def open(self) -> None:
        """Find out which channels the device has."""
        self._profile = self._find_profile()
        self._client = HttpClient(
            self.url,
            auth=self._credentials(),
            tls=self._tls(),
            timeout=self.timeout,
            names=self.names,
            clock=self.monotonic_clock,
        )
        channels = list(find_channels(self._profile.channel, self._get()))
        if len(self.probes) > len(channels):
            raise DeviceError(
                f"{self._client.where} has {len(channels)} channels with power for {len(self.probes)} names"
            )
        self._bound = [(name, channel) for name, channel in zip(self.probes, channels, strict=False) if name]

    def read(self) -> list[Measurement]:
        """Return what the device's page says now."""
        document = self._get()
        measurements = [each for probe, channel in self._bound for each in measure(probe, channel, document)]
        if self._bound and not measurements:
            raise DeviceError(f"{self._client.where} answers, but without a usable value for any probe")
        return measurements

    def _get(self) -> object:
        document = parse_document(self._client.get(self._profile.page), self._client.where)
        if self._profile.refused and look_up(document, parse_path(self._profile.refused)) is not MISSING:
            raise CredentialsRefused(f"{self._client.where} refuses user and password: {document!r:.200}")
        return document

    def _find_profile(self) -> JsonProfile:
        if self.profile != GENERIC:
            return profiles.load("http", self.profile_dir)[self.profile]
        return JsonProfile("paths of the configuration", "", ({**lines_of(self), "level": self.level},), page="")

    def _credentials(self) -> httpx.Auth | None:
        if not self.user:
            return None
        kinds = {"basic": httpx.BasicAuth, "digest": httpx.DigestAuth, "query": QueryAuth}
        return kinds[self.auth or self._profile.auth](self.user, self.password)

    def _tls(self) -> ssl.SSLContext | None:
        if not self.url.startswith("https:"):
            return None
        return tls_context(self.ca_file, verify=self.verify)

    def _address_problems(self) -> Iterator[tuple[str, str]]:
        try:
            url = httpx.URL(self.url or "")
        except httpx.InvalidURL as error:
            yield "url", str(error)
            return
        if self.url and not url.host:
            yield "url", "names no host"
        if url.userinfo:
            yield "url", "holds a user or a password; they have options of their own"
        if self.password and not self.user:
            yield "user", "is empty, and there is a password"
        if self.ca_file and not self.verify:
            yield "ca_file", "is of no use with verify = false"
