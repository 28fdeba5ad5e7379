#!/usr/bin/env python3
"""The tidy test: what STYLE.md asks for and a machine can see. Speaks TAP: one line a rule, offenders below it.

Limits only ever go down: when the longest function got shorter, lower the ratchet here.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 80   # STYLE.md says 60; nothing is above this
FUNCTION_LINES_USUAL = 60
OVER_USUAL_MAX = 12       # ratchet: functions between the two
FILE_LINES_MAX = 900      # ratchet: the longest source file
BANNED = {"strcpy": "memcpy with a known size", "strcat": "buffer_append_string()", "sprintf": "snprintf()",
          "gets": "fgets()", "strtok": "a loop", "alloca": "a buffer", "atoi": "json_* or strtoul with checks",
          "rand": "os/random", "asctime": "base/time.h", "usleep": "waiting for a condition"}
FOLDERS_WITHOUT_README = {".", ".ci", "test/corpus", "docs/formats"}


def tracked(*patterns):
    names = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).exists()]


def code_of(line):
    return re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]


def functions(path):
    """(name, first line, length) of each function whose braces stand in column 0."""
    start = None
    head = ""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if line.startswith("{") and start is None and ")" in head:
            start = number
        elif line.startswith("}") and start is not None:
            name = re.search(r"(\w+)\s*\(", head)
            yield (name.group(1) if name else "?"), start, number - start + 1
            start, head = None, ""
        elif start is None:
            head = line if re.match(r"^\w", line) else head + line
            if line.startswith("}") or line.endswith(";"):
                head = ""


def check_functions():
    long = [(path, name, line, size) for path in tracked("*.c") for name, line, size in functions(path)]
    bad = [f"{path.relative_to(ROOT)}:{line} {name}() has {size} lines" for path, name, line, size in long
           if size > FUNCTION_LINES_MAX]
    over = [entry for entry in long if FUNCTION_LINES_USUAL < entry[3] <= FUNCTION_LINES_MAX]
    if len(over) > OVER_USUAL_MAX:
        bad += [f"{path.relative_to(ROOT)}:{line} {name}() has {size} lines" for path, name, line, size in over]
    yield f"no function is longer than {FUNCTION_LINES_MAX} lines, at most {OVER_USUAL_MAX} than {FUNCTION_LINES_USUAL}", bad


def check_files():
    sources = tracked("*.c", "*.h", "*.py", "*.js", "*.mjs", "*.css")
    bad = []
    for path in sources:
        lines = len(path.read_text(errors="replace").splitlines())
        if lines > FILE_LINES_MAX:
            bad.append(f"{path.relative_to(ROOT)} has {lines} lines")
    yield f"no source file is longer than {FILE_LINES_MAX} lines", bad
    bad = []
    for path in tracked("*.c", "*.h", "*.py", "*.sh", "*.js", "*.mjs", "*.css", "*.sql", "*.build", "*.md", "Makefile"):
        text = path.read_text(errors="replace")
        if text and not text.endswith("\n"):
            bad.append(f"{path.relative_to(ROOT)} does not end with a newline")
        for number, line in enumerate(text.splitlines(), 1):
            if line != line.rstrip() and path.suffix != ".md":
                bad.append(f"{path.relative_to(ROOT)}:{number} has trailing space")
            if "\t" in line and path.suffix in (".c", ".h", ".py", ".js", ".css"):
                bad.append(f"{path.relative_to(ROOT)}:{number} has a tab")
    yield "every file ends with a newline, no trailing space, no tabs", bad


def check_banned():
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    bad = []
    for path in tracked("*.c", "*.h"):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found = pattern.search(code_of(line))
            if found and not line.lstrip().startswith(("*", "/*")):
                bad.append(f"{path.relative_to(ROOT)}:{number} {found.group(1)}(): use {BANNED[found.group(1)]}")
    yield "no banned function is called", bad


def check_headers():
    bad = []
    for path in tracked("*.h"):
        text = path.read_text(errors="replace")
        if "#pragma once" not in text and not re.search(r"#ifndef \w+_H", text):
            bad.append(f"{path.relative_to(ROOT)} has no include guard")
        if not re.match(r"\s*(#pragma once\s*)?/\*", text):
            bad.append(f"{path.relative_to(ROOT)} does not begin with its story")
    yield "each header is guarded and begins with its story", bad


def check_folders():
    folders = {path.parent.relative_to(ROOT) for path in tracked("*.c", "*.h", "*.py", "*.js", "*.sql")}
    bad = [f"{folder}/README.md is missing" for folder in sorted(folders)
           if str(folder) not in FOLDERS_WITHOUT_README and not (ROOT / folder / "README.md").exists()
           and not (ROOT / folder.parent / "README.md").exists()]
    yield "each folder with code has a README.md, in itself or just above", bad


def check_paths():
    pattern = re.compile(r"/(?:root|home/\w+|work)/")
    bad = []
    for path in tracked():
        if path.suffix in (".png", ".golden", ".seg") or path.name == "check_house.py":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                bad.append(f"{path.relative_to(ROOT)}:{number} names a path of one machine")
    yield "no file names a path of one machine", bad


def main():
    results = [result for check in (check_functions, check_files, check_banned, check_headers, check_folders, check_paths)
               for result in check()]
    print(f"1..{len(results)}")
    for number, (name, bad) in enumerate(results, 1):
        print(f"{'not ok' if bad else 'ok'} {number} - {name}")
        for line in bad:
            print(f"# {line}")
    return 1 if any(bad for _, bad in results) else 0


if __name__ == "__main__":
    sys.exit(main())
