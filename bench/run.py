#!/usr/bin/env python3
"""Measure daybook beside its peers, in one run, alternating, as ratios.

    bench/run.py [--build DIR] [--rounds N] [--seconds N] [--only WORD …] [--long] [--json FILE] [--markdown FILE]

The lines come in the order of the design's table of speeds, each with what it must reach. Every figure is a ratio to a peer
that was measured in the same minute on the same machine: the peer and daybook take turns, warmed up, and the median of the
rounds counts. Absolute numbers are printed too, but they say more about the machine. A line that could not be measured is
printed as such. --long adds what takes an hour: rates against the number of events, up to 100 million.
"""
import argparse
import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from measures import LONG_MEASURES, MEASURES  # noqa: E402
from peers import Setting  # noqa: E402
from table import as_markdown, as_text  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="where daybook was built, without sanitizers")
    parser.add_argument("--rounds", type=int, default=3, help="how often each pair is measured; the median counts")
    parser.add_argument("--seconds", type=int, default=3, help="seconds of one measurement")
    parser.add_argument("--only", action="append", default=[], help="only measures whose name contains this")
    parser.add_argument("--long", action="store_true", help="the ones that take their time instead")
    parser.add_argument("--json", help="write the rows to this file too")
    parser.add_argument("--markdown", help="write them as a table to this file too")
    arguments = parser.parse_args()
    measures = LONG_MEASURES if arguments.long else MEASURES
    lines = []
    with Setting(pathlib.Path(arguments.build).resolve(), arguments.rounds, arguments.seconds) as setting:
        print(f"{setting.machine()}; median of {arguments.rounds} rounds of {arguments.seconds} s, peer and daybook in turn\n")
        for measure in measures:
            if arguments.only and not any(word in measure.__name__ for word in arguments.only):
                continue
            for line in measure(setting, statistics.median):
                print(as_text(line), flush=True)
                lines.append(line)
        stalls = setting.stalls
    reached = [line["reached"] for line in lines if line.get("reached") is not None]
    print(f"\n{sum(reached)} of {len(reached)} targets reached; {stalls} runs did not count because the machine stood still")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
    if arguments.markdown:
        pathlib.Path(arguments.markdown).write_text(as_markdown(lines) + "\n")


if __name__ == "__main__":
    main()
