"""What /metrics says, read by the parsers of the Prometheus project's own client library."""
import http.client
import os
import signal
import threading
import urllib.request

from harness import PATIENCE_S, until
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as prometheus


def families(sidekey, accept):
    host, port = sidekey.admin
    request = urllib.request.Request(f"http://{host}:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        kind, text = answer.headers["content-type"], answer.read().decode()
    read = openmetrics if "openmetrics" in accept else prometheus
    assert kind.startswith(accept), kind
    return {family.name: family for family in read.text_string_to_metric_families(text)}


def samples(found):
    return {(s.name, *sorted(s.labels.items())): s.value for family in found.values() for s in family.samples}


def test_both_forms_are_read_by_strict_parsers_before_and_after_a_request(start, make_config):
    config = make_config()
    config["credentials"]["key"] = {"grant": "static", "token": make_config.write("key", "a-key")}
    sidekey = start(config)
    for _ in range(2):
        def both():
            """A token that comes between two scrapes brings families with it."""
            plain, open_form = families(sidekey, "text/plain"), families(sidekey, "application/openmetrics-text")
            same = {name for name in plain if name.startswith("sidekey_")} == {name for name in open_form if name.startswith("sidekey_")}
            return open_form if same else None
        open_form = until("both forms have the same families", both)
        assert all(f.type != "unknown" for f in open_form.values()), [f.name for f in open_form.values() if f.type == "unknown"]
        assert sidekey.request()[0] == 200


def test_series_with_fixed_words_are_there_from_the_start_and_what_has_no_end_has_no_series(start, make_config):
    config = make_config()
    config["credentials"]["key"] = {"grant": "static", "token": make_config.write("key", "a-key")}
    sidekey = start(config)

    def ends(found):
        return [dict(labels)["credential"] for name, *labels in found if name == "sidekey_token_expiry_timestamp_seconds"]
    until("the token has come", lambda: ends(samples(families(sidekey, "text/plain"))))
    found = samples(families(sidekey, "application/openmetrics-text"))
    for series in [("sidekey_refused_total", ("reason", "head_timeout")), ("sidekey_lease_total", ("result", "lost")),
                   ("sidekey_refreshes_total", ("credential", "crm"), ("result", "dead"), ("trigger", "rejected")),
                   ("sidekey_refresh_events_total", ("credential", "crm"), ("event", "double_spend"))]:
        assert found[series] == 0, series
    assert any(name == "sidekey_requests_total" for name, *_ in found)
    assert ends(found) == ["crm"]


def counters(text):
    """{series: value} of everything that may only grow."""
    kinds = {family.name: family.type for family in prometheus.text_string_to_metric_families(text)}
    found = {}
    for family in prometheus.text_string_to_metric_families(text):
        if kinds[family.name] in ("counter", "histogram"):
            found.update({(s.name, *sorted(s.labels.items())): s.value for s in family.samples})
    return found


def went_back(before, now):
    return {series: (value, now.get(series)) for series, value in before.items() if not now.get(series, -1) >= value}


class Scraper(threading.Thread):
    """Scrapes as fast as it is answered, and remembers what was ever less than before."""

    def __init__(self, sidekey):
        super().__init__(daemon=True)
        self.sidekey, self.last, self.scrapes, self.faults, self.over = sidekey, {}, 0, [], threading.Event()

    def run(self):
        last = False
        while not last:
            last = self.over.is_set()  # one scrape begins after stop() was called
            try:
                status, text = self.sidekey.get_admin("/metrics")
            except (OSError, http.client.HTTPException):
                continue  # the worker that answers was killed
            assert status == 200, text
            now = counters(text)
            self.faults += [went_back(self.last, now)] if went_back(self.last, now) else []
            self.last = now
            self.scrapes += 1

    def stop(self):
        self.over.set()
        self.join(20)
        return self


def test_what_went_back_is_found():
    assert went_back({"a": 2, "b": 1}, {"a": 1, "c": 5}) == {"a": (2, 1), "b": (1, None)}
    assert not went_back({"a": 2}, {"a": 2.5, "b": 0})


def test_counters_never_go_back_over_reloads_and_killed_processes(sidekey, auth):
    scraper = Scraper(sidekey)
    scraper.start()
    sent = 0
    for step in ("reload", "keeper", "reload", "worker", "reload", "both"):
        assert sidekey.request()[0] == 200
        sent += 1
        if step == "reload":
            old = sidekey.child("worker")
            assert sidekey.reload() == (200, "reloaded\n")
            until("the old worker is gone", lambda: old not in sidekey.children())
        for role in ("keeper", "worker"):
            if step in (role, "both"):
                sidekey.kill_child(role)
        seen = scraper.scrapes
        until("it was scraped", lambda: scraper.scrapes > seen + 2, 30)
    scraper.stop()
    assert not scraper.faults
    answered = {labels: value for (name, *labels), value in scraper.last.items() if name == "sidekey_requests_total" for labels in [tuple(labels)]}
    assert sum(answered.values()) == sent
    asked = sum(value for (name, *labels), value in scraper.last.items() if name == "sidekey_refreshes_total" and ("result", "refreshed") in labels)
    assert asked == auth.counts["token_requests"]


def test_what_ends_in_a_worker_that_a_reload_replaced_is_counted(sidekey):
    sock = sidekey.tls()
    sock.sendall(b"GET /v2/echo HTTP/1.1\r\nHost: api.sidekey.test\r\n")
    old = sidekey.child("worker")
    assert sidekey.reload() == (200, "reloaded\n")
    until("another worker", lambda: [p for p, name in sidekey.children().items() if "worker" in name and p != old])
    assert old in sidekey.children()
    before = sum(v for (name, *_), v in counters(sidekey.get_admin("/metrics")[1]).items() if name == "sidekey_requests_total")
    sock.sendall(b"\r\n")
    assert sock.recv(100).startswith(b"HTTP/1.1 200")

    def answered():
        return sum(v for (name, *_), v in counters(sidekey.get_admin("/metrics")[1]).items() if name == "sidekey_requests_total")
    until("it is counted while the old worker lives, or after", lambda: answered() == before + 1)
    sock.close()
    until("the old worker is gone", lambda: old not in sidekey.children())
    assert answered() == before + 1


def test_counters_are_told_while_the_keeper_stands_still(sidekey):
    assert sidekey.request()[0] == 200
    keeper = sidekey.child("keeper")
    os.kill(keeper, signal.SIGSTOP)
    try:
        status, text = sidekey.get_admin("/metrics")
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert status == 200
    assert sum(v for (name, *_), v in counters(text).items() if name == "sidekey_requests_total") == 1
