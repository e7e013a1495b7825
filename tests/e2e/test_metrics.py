"""What /metrics says, read by the parsers of the Prometheus project's own client library."""
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
        plain, open_form = families(sidekey, "text/plain"), families(sidekey, "application/openmetrics-text")
        assert {name for name in plain if name.startswith("sidekey_")} == {name for name in open_form if name.startswith("sidekey_")}
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
