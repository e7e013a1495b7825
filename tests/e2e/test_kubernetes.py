"""The other ways into a cluster: Kustomize component, admission policy, Helm chart, dashboard.  Each must make the same pod as the plain manifest."""
import copy
import json
import os
import pathlib
import re
import shutil
import subprocess

import harness
import pytest
from harness import BUILD, ROOT, run

KUBERNETES = ROOT / "examples/kubernetes"
CHART = KUBERNETES / "helm/sidekey"
CONFIG = KUBERNETES / "base/sidekey.yaml"
NODE = {**os.environ, "SIDEKEY_NODE": str(harness.NODE_DIR)}


def objects(*files):
    done = run(["node", ROOT / "tests/e2e/manifests.mjs", *files], NODE)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def deployment(docs):
    return next(doc for doc in docs if doc["kind"] == "Deployment")


def pod_of(docs):
    return deployment(docs)["spec"]["template"]["spec"]


def by_name(items):
    return {item["name"]: item for item in items}


@pytest.fixture(scope="module")
def base():
    return pod_of(objects(KUBERNETES / "base/deployment.yaml"))


# --- Kustomize ----------------------------------------------------------------------------------------------------------------------------

def kustomize(folder, place):
    command = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    done = run([*command, folder], {**os.environ, "HOME": str(place), "KUBECONFIG": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    (place / "built.yaml").write_bytes(done.stdout)
    return objects(place / "built.yaml")


needs_kustomize = pytest.mark.skipif(not shutil.which("kustomize") and b"Kustomize Version: v5" not in (run(["kubectl", "version", "--client"]).stdout if shutil.which("kubectl") else b""),
                                     reason="there is no kustomize")


@needs_kustomize
@pytest.mark.parametrize("part, kinds", [("base", ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet"]), ("job", ["Job"]), ("overlay", ["Deployment"])])
def test_each_kustomization_builds(part, kinds, place):
    assert sorted(doc["kind"] for doc in kustomize(KUBERNETES / part, place)) == kinds


@needs_kustomize
def test_the_component_makes_the_pod_of_the_base_and_keeps_what_was_there(base, place):
    before, after = pod_of(objects(KUBERNETES / "overlay/deployment.yaml")), pod_of(kustomize(KUBERNETES / "overlay", place))
    assert [c["name"] for c in after["initContainers"]] == ["sidekey", "migrate"], "the sidecar comes before what needs the network"
    assert after["initContainers"][0] == base["initContainers"][0]
    app, was, wanted = after["containers"][0], before["containers"][0], base["containers"][0]
    assert by_name(app["env"]) == {**by_name(was["env"]), **by_name(wanted["env"])}
    assert by_name(app["volumeMounts"]) == {**by_name(was["volumeMounts"]), **by_name(wanted["volumeMounts"])}
    assert by_name(after["volumes"]) == {**by_name(before["volumes"]), **by_name(base["volumes"])}
    assert {k: after[k] for k in ("securityContext", "terminationGracePeriodSeconds")} == {k: base[k] for k in ("securityContext", "terminationGracePeriodSeconds")}


@needs_kustomize
def test_the_redirect_component_adds_its_init_container_to_the_sidecar(base, place):
    shutil.copytree(KUBERNETES, place / "kubernetes")
    (place / "kubernetes/overlay/kustomization.yaml").write_text("resources: [deployment.yaml]\ncomponents: [../component, ../redirect]\n")
    docs = kustomize(place / "kubernetes/overlay", place)
    pod = pod_of(docs)
    containers = {c["name"]: c for c in pod["initContainers"]}
    assert set(containers) == {"sidekey-redirect", "sidekey", "migrate"} and containers["sidekey"] == base["initContainers"][0]
    added = containers["sidekey-redirect"]
    assert added["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert str(containers["sidekey"]["securityContext"]["runAsUser"]) in (KUBERNETES / "redirect/redirect.sh").read_text()
    map_of = next(d for d in docs if d["kind"] == "ConfigMap")
    assert map_of["metadata"]["name"] in [v.get("configMap", {}).get("name") for v in pod["volumes"]]
    assert map_of["data"]["redirect.sh"] == (KUBERNETES / "redirect/redirect.sh").read_text()


# --- the admission policy -------------------------------------------------------------------------------------------------------------------

def app_pod(annotations=None, labelled="true", **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "labels": {"sidekey.dev/inject": labelled}, **({"annotations": annotations} if annotations else {})},
            "spec": {"containers": [{"name": "app", "image": "app:1"}], **spec}}


SECRET = {"valueFrom": {"secretKeyRef": {"name": "crm", "key": "token"}}}
PODS = {
    "bare": app_pod(),
    "with everything": app_pod(
        {"sidekey.dev/placeholders": "CRM_TOKEN, CRM_KEY=sk=none,", "sidekey.dev/config": "crm-sidekey"},
        initContainers=[{"name": "migrate", "image": "app:1", "env": [{"name": "OTHER", "value": "x"}, {"name": "CRM_TOKEN", **SECRET}]}],
        containers=[{"name": "app", "image": "app:1", "ports": [{"containerPort": 80}], "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                     "env": [{"name": "CRM_TOKEN", **SECRET}, {"name": "DB_PASSWORD", **SECRET}, {"name": "HTTPS_PROXY", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]},
                    {"name": "second", "image": "app:2"}],
        volumes=[{"name": "tmp", "emptyDir": {}}]),
    "own group": app_pod(securityContext={"fsGroup": 1000, "runAsUser": 1000}),
    "already injected": app_pod(initContainers=[{"name": "sidekey", "image": "sidekey:9", "restartPolicy": "Always"}]),
    "not labelled": app_pod(labelled="false"),
    "out of reach": {**app_pod(), "spec": {}},
}


@pytest.fixture(scope="module")
def admitted(tmp_path_factory):
    pods = tmp_path_factory.mktemp("pods") / "pods.json"
    pods.write_text(json.dumps(PODS))
    done = run(["node", ROOT / "tests/e2e/policy.mjs", KUBERNETES / "policy/policy.yaml", pods], NODE)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def values(container):
    return {v["name"]: v["value"] for v in container["env"]}


def test_a_labelled_pod_becomes_the_pod_of_the_base(admitted, base):
    spec = admitted["bare"]["pod"]["spec"]
    assert spec["initContainers"] == base["initContainers"] and by_name(spec["volumes"]) == by_name(base["volumes"])
    app, wanted = spec["containers"][0], base["containers"][0]
    assert app["image"] == "app:1" and by_name(app["env"]) == by_name(wanted["env"]) and app["volumeMounts"] == wanted["volumeMounts"]
    assert spec["securityContext"] == {"fsGroup": 65532}


def test_named_variables_hold_placeholders_and_nothing_else_is_lost(admitted, base):
    spec, before = admitted["with everything"]["pod"]["spec"], PODS["with everything"]["spec"]
    assert [c["name"] for c in spec["initContainers"]] == ["sidekey", "migrate"]
    app = spec["containers"][0]
    told = {v["name"]: v for v in app["env"]}
    assert told["DB_PASSWORD"] == {"name": "DB_PASSWORD", **SECRET}, "what was not named stays a Secret"
    assert told["CRM_TOKEN"] == {"name": "CRM_TOKEN", "value": "sidekey-placeholder"} and told["CRM_KEY"] == {"name": "CRM_KEY", "value": "sk=none"}
    assert told["HTTPS_PROXY"] == {"name": "HTTPS_PROXY", "value": "http://127.0.0.1:8118"}
    assert app["ports"] == before["containers"][0]["ports"] and len(app["volumeMounts"]) == 2
    for other in (spec["containers"][1], spec["initContainers"][1]):
        assert {**values(base["containers"][0]), "CRM_TOKEN": "sidekey-placeholder"}.items() <= values(other).items()
        assert other["volumeMounts"] == base["containers"][0]["volumeMounts"]
    assert values(spec["initContainers"][1])["OTHER"] == "x"
    volumes = by_name(spec["volumes"])
    assert volumes["sidekey-config"]["configMap"] == {"name": "crm-sidekey"} and volumes["sidekey-secrets"]["secret"]["secretName"] == "crm-sidekey" and "tmp" in volumes


def test_an_fsgroup_of_its_own_stays(admitted):
    assert admitted["own group"]["pod"]["spec"]["securityContext"] == {"fsGroup": 1000, "runAsUser": 1000}


def test_nothing_is_injected_twice_or_unasked_and_what_cannot_be_changed_is_refused(admitted):
    assert admitted["already injected"] == admitted["not labelled"] == {"unmatched": True}
    assert list(admitted["out of reach"]) == ["refused"]


def test_injected_pods_have_the_types_of_the_api(admitted, place):
    for n, result in enumerate(admitted.values()):
        if "pod" in result:
            (place / f"{n}.yaml").write_text(json.dumps(result["pod"]))  # JSON is YAML
    assert len(objects(*sorted(place.glob("?.yaml")))) == 3


def test_the_policy_is_one_that_the_api_knows(place):
    policy, binding = objects(KUBERNETES / "policy/policy.yaml")
    assert policy["apiVersion"] == binding["apiVersion"] == "admissionregistration.k8s.io/v1"
    assert policy["spec"]["failurePolicy"] == "Fail" and policy["spec"]["matchConstraints"]["objectSelector"]["matchLabels"] == {"sidekey.dev/inject": "true"}
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    (place / "bad.yaml").write_text((KUBERNETES / "policy/policy.yaml").read_text().replace("failurePolicy:", "failurePolicie:"))
    assert run(["node", ROOT / "tests/e2e/manifests.mjs", place / "bad.yaml"], NODE).returncode == 1


# --- the Helm chart -------------------------------------------------------------------------------------------------------------------------

def test_the_schema_of_the_chart_takes_its_values_and_refuses_others(place):
    script = """
const fs = require('fs'), dir = process.argv[1] + '/', need = require('module').createRequire(dir);
const Ajv = need('ajv'), yaml = need('js-yaml');
const check = new Ajv({strict: false}).compile(JSON.parse(fs.readFileSync(process.argv[2] + '/values.schema.json')));
const good = yaml.load(fs.readFileSync(process.argv[2] + '/values.yaml', 'utf8'));
const changed = [{}, {replicas: '2'}, {replica: 2}, {name: 'No'}, {image: 'a b'}, {env: [{value: 'x'}]}, {egressPorts: [0]}, {redis: {enabled: 'no'}}, {sidekey: {...good.sidekey, caDir: 'run'}}];
console.log(JSON.stringify(changed.map((c) => check({...good, ...c}))));
"""
    done = run(["node", "-e", script, harness.NODE_DIR.resolve(), CHART], NODE)
    assert json.loads(done.stdout or "null") == [True] + [False] * 8, done


def test_the_chart_has_the_rules_that_are_shipped():
    assert (CHART / "rules.yaml").read_bytes() == (KUBERNETES / "monitoring/rules.yaml").read_bytes()
    version = re.search(r"^VERSION +:= (\S+)$", (ROOT / "Makefile").read_text(), re.M)[1]
    assert f'appVersion: "{version}"' in (CHART / "Chart.yaml").read_text()


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    """Helm's engine and functions in a program of our own: there is no helm in Debian."""
    folder = tmp_path_factory.mktemp("helm")
    source = (ROOT / "tests/fakes/helm_render/main.go").read_text()
    if pathlib.Path("/usr/share/gocode/src/github.com/Masterminds/sprig/v3").is_dir():  # Debian 13
        source = source.replace('"github.com/Masterminds/sprig"', '"github.com/Masterminds/sprig/v3"')
    (folder / "main.go").write_text(source)
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(BUILD.resolve() / "gocache"), "HOME": str(folder), "GOFLAGS": ""}
    done = subprocess.run(["go", "build", "-o", str(folder / "helm_render"), str(folder / "main.go")], env=env, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()

    def rendered(*args):
        return run([folder / "helm_render", CHART, *args])
    return rendered


HELM_LABELS = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/part-of", "helm.sh/chart", "app.kubernetes.io/name")


def comparable(docs):
    kept = {}
    for doc in copy.deepcopy(docs):
        labels = doc["metadata"].pop("labels", {})
        assert set(labels) <= set(HELM_LABELS)
        kept[doc["kind"], doc["metadata"]["name"]] = doc
    return kept


@pytest.mark.world
@needs_kustomize
def test_the_chart_renders_what_kustomize_builds(render, place):
    done = render("--set-file", f"config={CONFIG}")
    assert done.returncode == 0, done.stderr
    (place / "helm.yaml").write_bytes(done.stdout)
    assert comparable(objects(place / "helm.yaml")) == comparable(kustomize(KUBERNETES / "base", place))


@pytest.mark.world
def test_the_chart_follows_its_values_and_says_what_is_missing(render, place):
    done = render()
    assert done.returncode == 1 and b"--set-file config=sidekey.yaml" in done.stderr
    sets = ["name=shop", "replicas=5", "redis.enabled=false", "networkPolicy.enabled=false", "podDisruptionBudget.enabled=false", "podMonitor.enabled=true", "prometheusRule.enabled=true",
            "sidekey.adminPort=9200", "secretName=crm"]
    done = render("--set-file", f"config={CONFIG}", *(word for each in sets for word in ("--set", each)))
    text = done.stdout.decode()
    assert sorted(re.findall(r"^kind: (\S+)$", text, re.M)) == ["ConfigMap", "Deployment", "PodMonitor", "PrometheusRule"], done
    for wanted in ("name: shop\n", "replicas: 5", "containerPort: 9200", "secretName: crm", "{{ $labels.credential }}"):
        assert wanted in text, wanted


# --- what Prometheus and Grafana are told -------------------------------------------------------------------------------------------------------

def known_metrics():
    page = (ROOT / "docs/metrics.md").read_text()
    return set(re.findall(r"^\| `(sidekey_\w+)` \|", page, re.M))


def queries():
    board = json.loads((KUBERNETES / "monitoring/dashboard.json").read_text())
    asked = [t["expr"] for p in board["panels"] for t in p["targets"]] + [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
    return {"dashboard": asked, "rules": re.findall(r"^ +expr: (.*)$", (KUBERNETES / "monitoring/rules.yaml").read_text(), re.M)}


@pytest.mark.parametrize("where", ["dashboard", "rules"])
def test_every_metric_that_is_asked_for_exists(where, sidekey):
    known = known_metrics()
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for text in queries()[where] for name in re.findall(r"\bsidekey_\w+", text)}
    assert len(known) > 20 and asked and asked <= known, asked - known
    assert sidekey.request()[0] == 200  # an end has a series when there is a token
    told = sidekey.get_admin("/metrics")[1]
    families = set(re.findall(r"^# TYPE (\w+) ", told, re.M))
    other = {name for text in queries()[where] for name in re.findall(r"\bprocess_\w+", text)}
    assert asked | other <= families, (asked | other) - families


def test_panels_of_the_dashboard_do_not_overlap_and_have_their_own_numbers():
    panels = json.loads((KUBERNETES / "monitoring/dashboard.json").read_text())["panels"]
    cells = [(p["gridPos"]["x"] + x, p["gridPos"]["y"] + y) for p in panels for x in range(p["gridPos"]["w"]) for y in range(p["gridPos"]["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24 and len({p["id"] for p in panels}) == len(panels)


@pytest.mark.world
def test_promtool_accepts_the_rules_and_the_queries_of_the_dashboard(place):
    done = run(["promtool", "check", "rules", KUBERNETES / "monitoring/rules.yaml"])
    assert done.returncode == 0 and b"7 rules found" in done.stdout, done
    filled = [re.sub(r"\$__rate_interval", "5m", text).replace("$namespace", ".*").replace("$pod", ".*") for text in queries()["dashboard"] if not text.startswith("label_values")]
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(filled)]
    (place / "panels.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = run(["promtool", "check", "rules", place / "panels.yaml"])
    assert done.returncode == 0 and f"{len(rules)} rules found".encode() in done.stdout, done


@pytest.mark.world
def test_promtool_accepts_the_metrics(sidekey):
    assert sidekey.request()[0] == 200
    told = sidekey.get_admin("/metrics")[1]
    done = subprocess.run(["promtool", "check", "metrics"], input=told.encode(), capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done
