#!/usr/bin/env python3
"""Checks breaker.pml with spin. Speaks TAP. Usage: spin_test.py CC BUILD_FOLDER"""
import pathlib
import re
import shutil
import subprocess
import sys

compiler, build = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
MODEL = pathlib.Path(__file__).resolve().parent / "breaker.pml"

# name, what spin gets, what the verifier is compiled with, its options, whether an error must be found
CASES = [
    ("two callers, one of them killed, five epochs: B2 B3 B4 T1", [], ["-DSAFETY", "-DCOLLAPSE"], [], False),
    ("three callers, one of them killed, three epochs: B2 B3 B4 T1", ["-DTHREE", "-DEPOCHS=3"], ["-DSAFETY", "-DCOLLAPSE"], [],
     False),
    ("half-open does not last for ever: L1", ["-DLIVE", "-DALONE"], ["-DNFAIR=5"], ["-a", "-f"], False),
    ("an open breaker closes when every call ends well, slow or not: L2", ["-DLIVE", "-DALONE", "-DWELL"], ["-DNFAIR=5"],
     ["-a", "-f"], False),
    ("a report that does not look at the epoch is found", ["-DBUG_STALE"], ["-DSAFETY"], [], True),
    ("a transition that is a store is found", ["-DBUG_STORE"], ["-DSAFETY"], [], True),
    ("an end that is stored, not swapped, is found", ["-DBUG_PUBLISH"], ["-DSAFETY"], [], True),
    ("slow probes that are bad though no rule judges them are found", ["-DLIVE", "-DALONE", "-DWELL", "-DBUG_SLOW"],
     ["-DNFAIR=5"], ["-a", "-f"], True),
    ("a lease that never ends is found", ["-DLIVE", "-DALONE", "-DBUG_LEASE"], ["-DNFAIR=5"], ["-a", "-f"], True),
]


def verify(number, spin, flags, options):
    """The verifier's report: errors, states, and whether the search was whole."""
    folder = build / f"spin{number}"
    folder.mkdir(exist_ok=True)
    subprocess.run(["spin", *spin, "-a", str(MODEL)], cwd=folder, check=True, capture_output=True, text=True)
    subprocess.run([compiler, "-O2", "-w", "-DVECTORSZ=2048", *flags, "-o", "pan", "pan.c"], cwd=folder, check=True,
                   capture_output=True, text=True)
    done = subprocess.run(["./pan", "-m1000000", "-n", *options], cwd=folder, capture_output=True, text=True, timeout=1500)
    text = done.stdout + done.stderr
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"(\S+) states, stored", text)
    is_whole = "max search depth too small" not in text and "out of memory" not in text
    return int(errors.group(1)) if errors else -1, states.group(1) if states else "?", is_whole, text


def main():
    if not shutil.which("spin"):
        print("1..0 # SKIP spin is not installed")
        return 0
    print(f"1..{len(CASES)}", flush=True)
    failed = 0
    for number, (name, spin, flags, options, must_fail) in enumerate(CASES, 1):
        errors, states, is_whole, text = verify(number, spin, flags, options)
        is_good = errors > 0 if must_fail else errors == 0 and is_whole
        failed += not is_good
        print(f"{'ok' if is_good else 'not ok'} {number} - {name}", flush=True)
        print(f"# {states} states, {errors} errors{'' if is_whole else ', not all of them'}", flush=True)
        if not is_good:
            print("".join(f"# {line}\n" for line in text.splitlines()[:40]), end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
