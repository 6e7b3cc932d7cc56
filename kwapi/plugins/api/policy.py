"""What the owner of a token may do, by oslo.policy: the rules stand here, other ones in policy.yaml beside api.conf."""

import logging
import textwrap
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy.policy import Enforcer, RuleDefault

LOG = logging.getLogger(__name__)
PREFIX = "energy:"
READ = f"{PREFIX}read"
RULES = (
    RuleDefault(
        READ,
        "role:admin or role:service or role:reader",
        "Read power and energy of every probe. Keystone's usual roles imply each other, so that members of any project "
        "are readers as well; where they must not read, name projects, such as: role:reader and project_id:0ca8f6...",
    ),
)


class Policy:
    """The rules in force; files that change are read again."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._enforcer = Enforcer(conf)
        self._enforcer.register_defaults(RULES)
        self._lock = threading.Lock()  # rules that are being read again are incomplete

    def allows(self, rule: str, credentials: Mapping[str, Any]) -> bool:
        """Return whether a rule admits these credentials of a token: roles, user_id, project_id ..."""
        with self._lock:
            try:
                return bool(self._enforcer.authorize(rule, {}, dict(credentials)))
            except (ValueError, TypeError, AttributeError) as error:  # by a file that changed; it is read only once
                LOG.error("the policy cannot be read again, its rules of before hold: %s", " ".join(str(error).split()))
                return bool(self._enforcer.authorize(rule, {}, dict(credentials)))

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the rules of the files; what oslo.policy would only log, with tracebacks."""
        library = logging.getLogger("oslo_policy")
        level = library.level
        library.setLevel(logging.CRITICAL + 1)
        try:
            self._enforcer.load_rules(force_reload=True)
            if not self._enforcer.check_rules():
                yield "there are rules that refer to one that is missing, or to themselves"
        except (cfg.Error, ValueError) as error:
            yield " ".join(str(error).split())
        finally:
            library.setLevel(level)
        for name, rule in self._enforcer.file_rules.items():
            if name.startswith(PREFIX) and name not in self._enforcer.registered_rules:
                yield f"there is no rule {name}, but {', '.join(self._enforcer.registered_rules)}"
            elif str(rule.check) == "!" != rule.check_str:  # what oslo.policy makes of a rule that it cannot read
                yield f"the rule {name} cannot be understood: {rule.check_str!r}"


def sample() -> str:
    """Return the sample of policy.yaml."""
    text = "# Who may read the energy API. What is commented out is the default.\n"
    for rule in RULES:
        text += "\n" + textwrap.fill(rule.description or "", 100, initial_indent="# ", subsequent_indent="# ")
        text += f'\n#"{rule.name}": "{rule.check_str}"\n'
    return text


def beside(conf: cfg.ConfigOpts, name: str) -> str:
    """Return the path of a file in the directory of the configuration."""
    return str(Path(conf.config_file[-1]).absolute().with_name(name))
