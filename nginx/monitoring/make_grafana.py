#!/usr/bin/env python3
"""Prints the Grafana dashboard: grafana.json is what this prints, and a test holds them together.

    nginx/monitoring/make_grafana.py > nginx/monitoring/grafana.json
"""
import json

STATES = {"closed": ("green", 0), "ramp": ("yellow", 1), "half_open": ("yellow", 2), "shadow": ("blue", 3),
          "forced_closed": ("purple", 4), "open": ("red", 5), "forced_open": ("dark-red", 6)}

# title, unit, kind of panel, width, [(expression, legend)]
PANELS = [
    ("State", "none", "state-timeline", 24,
     [(" + ".join(f'{value} * max by (breaker) (breaker_state{{breaker=~"$breaker",breaker_state="{state}"}})'
                  for state, (_, value) in STATES.items() if value), "{{breaker}}")]),
    ("Calls a second, by how they ended", "reqps", "timeseries", 12,
     [('sum by (outcome) (rate(breaker_calls_total{breaker=~"$breaker"}[1m]))', "{{outcome}}")]),
    ("Refused a second, by why", "reqps", "timeseries", 12,
     [('sum by (why) (rate(breaker_refused_total{breaker=~"$breaker"}[1m]))', "{{why}}")]),
    ("Failures in the window", "percent", "timeseries", 12,
     [('100 * breaker_lately_calls{breaker=~"$breaker",kind="failures"} / ignoring (kind) '
       'breaker_lately_calls{breaker=~"$breaker",kind="total"}', "{{breaker}}")]),
    ("How long calls take: half of them, and all but one in a hundred", "s", "timeseries", 12,
     [(f'histogram_quantile({quantile}, sum by (breaker, le) (rate(breaker_call_seconds_bucket{{breaker=~"$breaker"}}[1m])))',
       f"{{{{breaker}}}} p{quantile * 100:.0f}") for quantile in (0.5, 0.99)]),
    ("Calls under way", "short", "timeseries", 12, [('breaker_in_flight{breaker=~"$breaker"}', "{{breaker}}")]),
    ("Seconds until the next try", "s", "timeseries", 12,
     [('breaker_retry_after_seconds{breaker=~"$breaker"}', "{{breaker}}")]),
    ("Transitions in ten minutes", "short", "timeseries", 12,
     [('increase(breaker_transitions_total{breaker=~"$breaker"}[10m])', "{{breaker}}")]),
]


def panel(number, title, unit, kind, width, targets, x, y):
    mappings = [{"type": "value", "options": {str(value): {"text": state, "color": colour, "index": value}}}
                for state, (colour, value) in STATES.items()] if kind == "state-timeline" else []
    return {"id": number, "title": title, "type": kind, "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"x": x, "y": y, "w": width, "h": 8},
            "fieldConfig": {"defaults": {"unit": unit, "mappings": mappings}, "overrides": []},
            "targets": [{"refId": chr(65 + i), "expr": expression, "legendFormat": legend}
                        for i, (expression, legend) in enumerate(targets)]}


def dashboard():
    panels, x, y = [], 0, 0
    for number, (title, unit, kind, width, targets) in enumerate(PANELS, 1):
        if x + width > 24:
            x, y = 0, y + 8
        panels.append(panel(number, title, unit, kind, width, targets, x, y))
        x += width
    return {"title": "Circuit breakers", "uid": "daybook-breakers", "schemaVersion": 38, "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"}, "tags": ["daybook", "nginx"], "panels": panels,
            "templating": {"list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {"name": "breaker", "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"},
                 "query": "label_values(breaker_state, breaker)", "includeAll": True, "multi": True, "allValue": ".*",
                 "current": {"text": "All", "value": "$__all"}, "refresh": 2}]}}


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
