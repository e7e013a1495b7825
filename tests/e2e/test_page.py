"""The status page at / of the admin listener: what it is allowed to do, and what a browser shows of it."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.request

import pytest
from harness import PATIENCE_S, until

WIDTHS = {"phone": (360, 800), "desktop": (1280, 900)}


def page(sidekey):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{sidekey.admin[0]}:{sidekey.admin[1]}/", timeout=PATIENCE_S) as answer:
        return answer.headers, answer.read().decode()


def test_the_page_runs_its_own_script_alone_and_asks_only_where_it_came_from(sidekey, auth):
    sidekey.request()
    headers, text = page(sidekey)
    policy = headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([0-9a-f]{32})'", policy)[1]
    assert policy.startswith("default-src 'none';") and "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["content-type"] == "text/html; charset=utf-8" and headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert text.count(f'nonce="{nonce}"') == 2 == text.count("nonce=") and "@NONCE@" not in text
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {"data:,", "/status", "/readyz?verbose", "/metrics"} and "://" not in text
    assert "innerHTML" not in text and not [s for s in auth.secrets if s in text]
    assert re.search(r"script-src 'nonce-([0-9a-f]{32})'", page(sidekey)[0]["content-security-policy"])[1] != nonce


def browser(place, *argv):
    return subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--no-first-run", "--disable-background-networking",
                           f"--user-data-dir={place}/chromium", "--virtual-time-budget=4000", *argv], capture_output=True, timeout=150, check=False)


@pytest.mark.world
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_credentials_ends_errors_rules_and_counters(start, make_config, auth, place, width):
    config = make_config()
    config["credentials"]["dead"] = {**config["credentials"]["crm"], "refresh_token": make_config.write("nothing", "never-issued-refresh-token"), "required": False}
    config["rules"].append({**config["rules"][0], "match": {"host": "dead.sidekey.test"}, "credential": "dead"})
    sidekey = start(config, unmatched="deny")
    assert sidekey.request()[0] == 200
    until("the other one has failed", lambda: any(c["last_error"] for c in json.loads(sidekey.get_admin("/status")[1])["credentials"]))
    size = "{},{}".format(*WIDTHS[width])
    url = f"http://{sidekey.admin[0]}:{sidekey.admin[1]}/"
    done = browser(place, f"--window-size={size}", "--dump-dom", url)
    dom = done.stdout.decode()
    assert 'data-shown="yes"' in dom, (dom[-2000:], done.stderr[-2000:])
    for shown in ("crm", "usable", "dead", "token ends", "in ", "invalid_grant", "api.sidekey.test", "Refused by sidekey", "MiB", "ready"):
        assert shown in dom, shown
    assert not [s for s in (*auth.secrets, "never-issued-refresh-token") if s in dom]
    picture = pathlib.Path(os.environ.get("PICTURES", place)) / f"{width}.png"
    browser(place, f"--window-size={size}", "--hide-scrollbars", f"--screenshot={picture}", url)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10000
