#!/usr/bin/env python3
"""Alert rules and the Grafana dashboard speak of metrics and labels that the gateway really has, and Prometheus agrees."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

from harness import BUILD, HERE, Service, Skip, site, test, wait_for

FOLDER = pathlib.Path(HERE).parent / "monitoring"


def metrics(n):
    """name → the label values that were seen with it"""
    found = {}
    for line in n.get("/breakers?format=prometheus").body.decode().splitlines():
        match = re.match(r"(\w+)(?:\{(.*)\})? ", line)
        if match and not line.startswith("#"):
            found.setdefault(match.group(1), set()).update(re.findall(r'(\w+="[^"]*")', match.group(2) or ""))
    return found


def check(expression, found):
    names = set(re.findall(r"\bbreaker_\w+(?=[{\[)\s]|$)", re.sub(r"\{[^}]*\}", "{}", expression))) - {"breaker_state="}
    assert names, expression
    for name, matchers in re.findall(r"(breaker_\w+)\{([^}]*)\}", expression):
        for label, kind, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers):
            if value == "$breaker":
                continue
            for one in value.split("|"):
                assert f'{label}="{one}"' in found[name], (expression, label, one)
    for name in names:
        assert name in found, (expression, name)


@test
def each_alert_asks_for_metrics_that_exist(scene):
    n = scene.nginx(site("max_in_flight=9", "location / { breaker_use b; proxy_pass http://127.0.0.1:9; }"))
    found = metrics(n)
    text = (FOLDER / "alerts.yml").read_text()
    expressions = re.findall(r"expr: (?:>\n)?((?:.|\n)*?)\n +(?:for|labels):", text)
    assert len(expressions) == text.count("- alert:") and len(expressions) >= 7, expressions
    for expression in expressions:
        check(expression, found)


@test
def each_panel_asks_for_metrics_that_exist(scene):
    n = scene.nginx(site("max_in_flight=9", "location / { breaker_use b; proxy_pass http://127.0.0.1:9; }"))
    found = metrics(n)
    for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            check(target["expr"], found)


@test
def the_dashboard_is_what_its_program_prints(scene):
    printed = subprocess.run([sys.executable, FOLDER / "make_grafana.py"], capture_output=True, text=True, check=True)
    assert printed.stdout == (FOLDER / "grafana.json").read_text()


def promtool(*words, **more):
    if not shutil.which("promtool"):
        raise Skip("promtool is not installed (package prometheus)")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, cwd=FOLDER, **more)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return done.stdout


@test
def promtool_takes_the_rules(scene):
    assert "SUCCESS" in promtool("check", "rules", "alerts.yml")


@test
def each_alert_fires_when_it_should_and_is_silent_when_not(scene):
    alerts = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    tested = re.findall(r"alertname: (\w+)", (FOLDER / "alerts_test.yml").read_text())
    assert set(alerts) == set(tested), set(alerts) ^ set(tested)
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def busy(scene):
    """A gateway with a call or two behind it, one of which failed."""
    u = scene.upstream()
    n = scene.nginx(site("max_in_flight=9", f"location / {{ breaker_use b; proxy_pass http://127.0.0.1:{u.port}; }}"))
    assert n.get("/").status == 200
    u.mode = "500"
    assert n.get("/").status == 500
    return n


@test
def promtool_takes_the_metrics_in_the_format_that_everything_reads(scene):
    a = busy(scene).get("/breakers?format=prometheus")
    assert a.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", a
    assert b'breaker_call_seconds_count{breaker="b"} 2\n' in a.body, a.body
    promtool("check", "metrics", input=a.body.decode())


@test
def openmetrics_is_for_those_who_accept_it(scene):
    n = busy(scene)
    for accept in ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "Application/OpenMetrics-Text"):
        a = n.get("/breakers?format=prometheus", headers={"Accept": accept})
        assert a.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"), a
        assert a.body.endswith(b"# EOF\n") and b"# TYPE breaker_state stateset" in a.body, a
    assert b"# EOF" not in n.get("/breakers?format=prometheus", headers={"Accept": "text/plain"}).body


@test
def prometheus_itself_scrapes_the_gateway_and_the_server_and_evaluates_the_rules(scene):
    if not shutil.which("prometheus"):
        raise Skip("prometheus is not installed")
    gateway, server = busy(scene), scene.add(Service([BUILD / "daybook", "serve", "--data", "@DIR@/data", "--listen",
                                                      "127.0.0.1:@PORT@"], "listens on|listening on|http://"))
    jobs = [{"job_name": "breakers", "metrics_path": "/breakers", "params": {"format": ["prometheus"]},
             "static_configs": [{"targets": [f"127.0.0.1:{gateway.port}"]}]},
            {"job_name": "daybook", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]}]
    settings = json.dumps({"global": {"scrape_interval": "1s", "evaluation_interval": "200ms"}, "scrape_configs": jobs,
                           "rule_files": [str(FOLDER / "alerts.yml")]})    # JSON is YAML
    prometheus = scene.add(Service(["prometheus", "--config.file=@DIR@/settings", "--storage.tsdb.path=@DIR@/data",
                                    "--web.listen-address=127.0.0.1:@PORT@"], "Server is ready", settings=settings))
    def told():
        return [(one["health"], one["lastError"]) for one in prometheus.get("/api/v1/targets").json["data"]["activeTargets"]]

    try:
        wait_for(lambda: told() == [("up", ""), ("up", "")], "both are scraped")
    except AssertionError:
        assert told() == [("up", ""), ("up", "")], told()
    query = "/api/v1/query?query=breaker_calls_total%7Boutcome%3D%22failure%22%7D"
    found = wait_for(lambda: prometheus.get(query).json["data"]["result"], "the failure is not there")
    assert found[0]["metric"]["breaker"] == "b" and found[0]["value"][1] == "1", found
    rules = wait_for(lambda: [one for one in prometheus.get("/api/v1/rules").json["data"]["groups"][0]["rules"]
                              if one["health"] != "unknown"], "no rule is evaluated")
    assert {one["health"] for one in rules} == {"ok"}, rules


if __name__ == "__main__":
    sys.exit(test.run())
