"""What `keytether exec --env DAY_TOKEN` runs: it says its token wherever it can.

    child.py RESOURCE LOGFILE
"""

from __future__ import annotations

import logging
import os
import sys
import time

import requests

import keytether
import keytether.logging
from keytether.requests import Auth

resource, log = sys.argv[1:]
token = os.environ["DAY_TOKEN"]
logging.basicConfig(level=logging.DEBUG, filename=log)
keytether.logging.install()
logging.debug("environment: %s", dict(os.environ))
logging.getLogger("careless").error("token=%s", token, extra={"token": token})

print("the token is", token, flush=True)
print("Authorization: Bearer " + token, file=sys.stderr, flush=True)
for piece in (token[:7], token[7:40], token[40:]):  # as a slow program writes
    sys.stdout.write(piece)
    sys.stdout.flush()
    time.sleep(0.01)
print()
print(keytether.token(resource=resource))
api = requests.Session()
api.auth = Auth(resource)
print(api.get(resource + "/reports").text)
