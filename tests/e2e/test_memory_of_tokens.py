"""Memory that held a refresh token is wiped when it is freed: the keeper's memory is read as root could read it."""
import os
import re
import time

import harness
import pytest
from harness import until
from idp import Idp
from redis_fixture import redis_server  # noqa: F401 (fixture)

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="another process's memory is read by root only"),
              pytest.mark.skipif(harness.SANITIZED, reason="the sanitizer's allocator keeps freed memory")]


def memory(pid):
    """All that the process can write to."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found:
                start, end = (int(x, 16) for x in found.groups())
                try:
                    mem.seek(start)
                    yield mem.read(end - start)
                except OSError:
                    continue


@pytest.mark.parametrize("engine", ["file", "redis"])
def test_after_eight_refreshes_no_spent_refresh_token_is_in_the_keepers_memory(make_config, pki, start, engine, request):
    idp = Idp(pki, name="m")
    idp.answer = {"expires_in": 2}
    config = make_config()
    if engine == "redis":
        config["store"]["redis"] = {"url": request.getfixturevalue("redis_server")().url}
    config["credentials"]["crm"] = {"grant": "refresh_token", "token_url": idp.url(), "client_id": "me", "client_auth": "none", "required": True,
                                    "refresh_token": make_config.write("rt", idp.mint()), "tls": {"ca_file": str(pki / "ca.pem")}}
    sidekey = start(config)
    until("eight refreshes", lambda: len(idp.spent) >= 9)
    keeper = sidekey.child("keeper")
    idp.answer = {"expires_in": 3600}
    before = len(idp.spent)
    until("one more, which lives long", lambda: len(idp.spent) > before)
    time.sleep(0.5)
    spent = [token.encode() for token in idp.spent[:-1]]  # the last one is kept for one generation
    found = {token for part in memory(keeper) for token in spent if token in part}
    idp.shutdown()
    idp.server_close()
    assert not found, found
    assert idp.reuse == 0
