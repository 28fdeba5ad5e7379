#!/usr/bin/env python3
"""Measure daybook beside its peers, in one run, alternating, as ratios.

    bench/run.py [--build DIR] [--rounds N] [--seconds N] [--only WORD …] [--json FILE]

Every figure is a ratio to a peer that was measured in the same minute on the same machine: the peer and daybook take
turns, and the median of the rounds counts. Absolute numbers are printed too, but they say more about the machine.
"""
import argparse
import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from measures import MEASURES  # noqa: E402
from peers import Setting  # noqa: E402


def show(row):
    ratio = f"{row['ratio']:6.2f} ×" if row.get("ratio") is not None else "        "
    print(f"{row['what']:<58} {row['ours']:>12} {ratio}  {row['peer_name']}: {row['peer']}", flush=True)
    if row.get("note"):
        print(f"{'':<6}{row['note']}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="where daybook was built, without sanitizers")
    parser.add_argument("--rounds", type=int, default=3, help="how often each pair is measured; the median counts")
    parser.add_argument("--seconds", type=int, default=3, help="seconds of one measurement")
    parser.add_argument("--only", action="append", default=[], help="only measures whose name contains this")
    parser.add_argument("--json", help="write the rows to this file too")
    arguments = parser.parse_args()
    table = []
    with Setting(pathlib.Path(arguments.build).resolve(), arguments.rounds, arguments.seconds) as setting:
        print(f"{setting.machine()}; median of {arguments.rounds} rounds of {arguments.seconds} s, peer and daybook in turn\n")
        for measure in MEASURES:
            if arguments.only and not any(word in measure.__name__ for word in arguments.only):
                continue
            for row in measure(setting, statistics.median):
                show(row)
                table.append(row)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
