"""Serves Keystone: PYTHON keystone_server.py PORT REQUESTS, by the Python of Keystone's own environment.

OS_KEYSTONE_CONFIG_DIR says where keystone.conf is. Each request adds a line to the file REQUESTS.
"""

import sys

import waitress

port, requests = sys.argv[1:]
sys.argv = ["keystone"]  # Keystone reads the command line when it is imported
from keystone.wsgi.api import application  # noqa: E402

with open(requests, "a", buffering=1) as log:

    def noting(environ, start_response):
        print(environ["REQUEST_METHOD"], environ["PATH_INFO"], file=log)
        return application(environ, start_response)

    waitress.serve(noting, host="127.0.0.1", port=int(port), threads=4)
