"""The journal inside a program, without a server: what build/bench/journal_bench measures."""
from table import missing


def embedded_appends(setting, median):
    yield missing("embedded appends and scans", "bench/journal_bench is not there")


def embedded_growth(setting, median):
    yield missing("embedded appends against the number of events", "bench/journal_bench is not there")
