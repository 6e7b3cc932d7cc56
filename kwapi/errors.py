"""Errors, sorted by what their reader must do."""


class KwapiError(Exception):
    """Base of every error of Kwapi."""


class ConfigError(KwapiError):
    """The configuration must be edited; raised at start only, with every mistake found.

    ``mistakes`` has one line for each: ``file:line: [section] key: what is wrong``.
    """

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class DeviceError(KwapiError):
    """A device gave no usable answer; it is worth trying again later."""


class CredentialsRefused(DeviceError):
    """A device refused our credentials; trying again soon could lock the account."""


class BadMessage(KwapiError):
    """A message is to be dropped and counted under ``reason``, one of a few fixed words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class NoKey(KwapiError):
    """No signing key may sign a message, which counts as lost; one is to be added to the file, or is about to begin."""
