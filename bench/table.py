"""Rows of the table: what was measured, what it must reach, and whether it does."""


def rate(number):
    return f"{number:,.0f}/s"


def milliseconds(number):
    return f"{number:,.2f} ms"


def latencies(median, results):
    """p50, p99, p99.9 in ms of the median round; what a peer's tool does not tell is left out."""
    found = {}
    for name in ("p50_us", "p99_us", "p999_us"):
        values = [result[name] for result in results if result.get(name) is not None]
        if values:
            found[name.replace("_us", "_ms")] = round(median(values) / 1000, 3)
    return found


def row(what, ours, peer_name="", peer=None, *, target=None, limit=None, below=False, unit=rate, needs="", ours_ms=None,
        peer_ms=None, note=None):
    """One line. `target` is what the ratio ours / peer must be at least, `limit` what `ours` must be at least; with `below`
    at most. `needs` says it for people."""
    ratio = ours / peer if peer else None
    held, must = (ratio, target) if limit is None else (ours, limit)
    reached = None if must is None or held is None else (held <= must if below else held >= must)
    return {"what": what, "ours": unit(ours), "ours_number": ours, "ratio": ratio, "peer_name": peer_name,
            "peer": unit(peer) if peer is not None else "", "peer_number": peer, "target": target, "below": below,
            "needs": needs or ("" if target is None else f"{'≤' if below else '≥'} {target:g} ×"),
            "reached": reached, "ours_ms": ours_ms or {}, "peer_ms": peer_ms or {}, "note": note}


def missing(what, why):
    """A line of the table that could not be measured here, so that nobody takes its absence for success."""
    return {"what": what, "ours": "not measured", "ratio": None, "peer_name": "", "peer": "", "target": None, "needs": "",
            "reached": False, "ours_ms": {}, "peer_ms": {}, "note": why}


def verdict(line):
    return "" if line.get("reached") is None else "reached" if line["reached"] else "short"


def spread(figures):
    return " / ".join(f"{figures[name]:.2f}" for name in ("p50_ms", "p99_ms", "p999_ms") if name in figures)


def as_text(line):
    ratio = f"{line['ratio']:6.2f} ×" if line.get("ratio") is not None else " " * 8
    text = (f"{line['what']:<62} {line['ours']:>14} {ratio} {line.get('needs', ''):>10} {verdict(line):<8}"
            f"{line['peer_name']}{': ' if line['peer'] else ''}{line['peer']}")
    for name, figures in (("ours", line.get("ours_ms")), (line["peer_name"], line.get("peer_ms"))):
        if figures:
            text += f"\n{'':<6}p50 / p99 / p99.9 ms, {name}: {spread(figures)}"
    return text + (f"\n{'':<6}{line['note']}" if line.get("note") else "")


def as_markdown(lines):
    """The table for a README: paste it."""
    cells = [("measure", "daybook", "p50 / p99 / p99.9 ms", "ratio", "must", "", "peer")]
    for line in lines:
        ratio = f"{line['ratio']:.2f}" if line.get("ratio") is not None else ""
        peer = f"{line['peer_name']} {line['peer']}".strip()
        if line.get("peer_ms"):
            peer += f" ({spread(line['peer_ms'])})"
        cells.append((line["what"], line["ours"], spread(line.get("ours_ms") or {}), ratio, line.get("needs", ""),
                      verdict(line), peer))
    cells.insert(1, ("---",) * 7)
    return "\n".join("| " + " | ".join(cell) + " |" for cell in cells)
