"""Who may read: Keystone says whose a token is, the policy what that one may do."""

import logging

from flask import Flask, request
from oslo_config import cfg
from werkzeug.exceptions import Forbidden

from kwapi import logs
from kwapi.plugins.api.access import secrets_of

LOG = logging.getLogger(__name__)


def guard(app: Flask, conf: cfg.ConfigOpts) -> Flask:
    """Let the application answer those who may read only: /v1, /v2 and, unless it is public, /metrics.

    The rest, such as /healthz, tells nothing of probes and asks nobody.
    """
    if not conf.acl_enabled:
        who = f"who reaches {conf.host}" if conf.anybody_may_read else "on this machine"
        LOG.warning("acl_enabled is false: anybody %s may read", who)
        return app
    # Imported here, since these libraries take a quarter of a second and 30 MB that nobody else needs.
    from kwapi.plugins.api.keystone import Keystone
    from kwapi.plugins.api.policy import READ, Policy

    if conf.log_level != "debug":  # they tell each refusal anew; we, when something changes
        for library in ("keystonemiddleware", "keystoneauth", "urllib3"):
            logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    logs.hide(secrets_of(conf))
    # Some thread is always left for /healthz, whatever Keystone does, also while half of them serve streams.
    keystone = Keystone(conf, most_questions=max(conf.threads - conf.streams - 1, 1))
    policy = Policy(conf)
    guarded = {"v1", "v2"} if conf.metrics_public else {"v1", "v2", "metrics"}

    def check() -> None:
        if request.path.lstrip("/").partition("/")[0] in guarded and not policy.allows(
            READ, keystone.owner(request.environ)
        ):
            raise Forbidden("the owner of the token has no role that may read")

    app.before_request(check)
    LOG.info("asking Keystone at %s who may read", conf.keystone_authtoken.www_authenticate_uri)
    return app
