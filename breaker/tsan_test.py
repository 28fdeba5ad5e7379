#!/usr/bin/env python3
"""The races again under ThreadSanitizer, which does not go together with the sanitizers of the usual test build.

    tsan_test.py CC SOURCE_FOLDER BUILD_FOLDER [ROUNDS]

Compiles the library and its tests with many callers, and passes their TAP lines on under one plan.
"""
import os
import pathlib
import re
import subprocess
import sys

compiler, source, build = sys.argv[1], *(pathlib.Path(word).resolve() for word in sys.argv[2:4])
rounds = sys.argv[4] if len(sys.argv) > 4 else "1500"
PROGRAMS = ("race", "kit")
library = [str(path.resolve()) for path in sorted(source.glob("*.c"))
           if not re.search(r"_(test|fuzz)\.c$|^(tool|model|chaos)\.c$", path.name)]


FLAGS = ["-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE", "-fsanitize=thread", "-pthread", f"-I{source}"]


def compile_all():
    """The library once, then each test with it."""
    objects = build / "tsan"
    objects.mkdir(exist_ok=True)
    subprocess.run([compiler, *FLAGS, "-c", *library], cwd=objects, check=True, capture_output=True, text=True)
    for name in PROGRAMS:
        subprocess.run([compiler, *FLAGS, str(source / f"{name}_test.c"), *map(str, sorted(objects.glob("*.o"))), "-lcmocka",
                        "-o", str(build / f"tsan_{name}")], check=True, capture_output=True, text=True)


def try_compile():
    try:
        compile_all()
    except subprocess.CalledProcessError as error:
        print("1..0 # SKIP this compiler has no ThreadSanitizer")
        print("".join(f"# {line}\n" for line in error.stderr.splitlines()[:20]))
        sys.exit(0 if "tsan" in error.stderr else 1)


def main():
    try_compile()
    lines, bad = [], 0
    environment = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
                   "BREAKER_RACE_ROUNDS": rounds, "BREAKER_RACE_SECONDS": "1"}
    for name in PROGRAMS:
        done = subprocess.run([str(build / f"tsan_{name}")], capture_output=True, text=True, env=environment, timeout=600)
        found = re.findall(r"^(ok|not ok) \d+ - (.*)$", done.stdout, re.M)
        lines += [(word, f"{name}: {title}") for word, title in found]
        if done.returncode:
            bad += 1
            lines.append(("not ok", f"{name}: exit {done.returncode}"))
            lines += [("#", line) for line in done.stderr.splitlines()[:60]]
    tests = [line for line in lines if line[0] != "#"]
    print(f"1..{len(tests)}")
    number = 0
    for word, text in lines:
        number += word != "#"
        print(f"# {text}" if word == "#" else f"{word} {number} - {text}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
