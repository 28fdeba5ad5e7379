#!/usr/bin/env python3
"""Alert rules and the Grafana dashboard speak of metrics and labels that the gateway really has."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

from harness import HERE, Skip, site, test

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


@test
def promtool_takes_the_rules_and_the_metrics(scene):
    if not shutil.which("promtool"):
        raise Skip("promtool is not installed (package prometheus)")
    done = subprocess.run(["promtool", "check", "rules", FOLDER / "alerts.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(test.run())
