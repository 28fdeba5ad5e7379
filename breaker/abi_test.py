#!/usr/bin/env python3
"""What others see of libbreaker: its symbols, its header, and the example of its README. Speaks TAP.

    abi_test.py CC SOURCE_FOLDER SHARED_LIBRARY STATIC_LIBRARY BUILD_FOLDER
"""
import pathlib
import re
import subprocess
import sys
import traceback

compiler, source, shared, static, build = sys.argv[1], *map(pathlib.Path, sys.argv[2:6])
HEADER = (source / "breaker.h").read_text()


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}"
    return done.stdout


def declared():
    return set(re.findall(r"^BREAKER_PUBLIC[^;(]*?\b(breaker_\w+)\(", HEADER, re.M | re.S))


def exported():
    return {line.split()[-1] for line in run("nm", "-D", "--defined-only", shared).splitlines()}


def only_breaker_symbols_are_exported():
    strange = {name for name in exported() if not re.match(r"breaker_|_init$|_fini$|__", name)}
    assert not strange, strange


def the_static_library_takes_no_name_of_others():
    strange = {line.split()[-1] for line in run("nm", "-g", "--defined-only", static).splitlines()
               if len(line.split()) == 3 and not re.match(r"breaker_|_|\.", line.split()[-1])}
    assert not strange, strange


def what_is_declared_is_exported_and_the_reverse():
    ours = {name for name in exported() if name.startswith("breaker_")}
    assert declared() == ours, (declared() ^ ours)


def the_header_compiles_alone_as_c17():
    run(compiler, "-std=c17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c", source / "breaker.h")


def the_header_compiles_alone_as_cplusplus():
    run(compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", source / "breaker.h")


def the_library_needs_libc_and_nothing_else():
    text = run("readelf", "-d", shared)
    needed = [name for name in re.findall(r"NEEDED.*\[(.*)\]", text) if not re.match(r"lib(asan|ubsan|tsan)\.", name)]
    assert all(re.match(r"libc\.|ld-linux|libm\.|libgcc_s\.|libpthread\.|libdl\.|librt\.", name) for name in needed), needed


def nothing_in_the_folder_includes_anything_outside():
    system = set()
    for path in source.glob("*.[ch]"):
        for quote, name in re.findall(r'^#include (["<])([^">]+)', path.read_text(), re.M):
            assert quote == "<" or (source / name).exists(), f"{path.name}: {name}"
            system.add(name)
    assert not {name for name in system if name.startswith(("curl", "sqlite", "sodium", "microhttpd"))}, system


def the_example_of_the_readme_compiles_and_does_what_it_says():
    example = re.search(r"```c\n(.*?)```", (source / "README.md").read_text(), re.S).group(1)
    code = [line for line in example.splitlines() if line.strip()]
    assert len(code) <= 30, f"{len(code)} lines"
    program = build / "readme_example"
    sanitize = ["-fsanitize=address,undefined"] if "asan" in run("readelf", "-d", shared) else []
    run(compiler, "-std=gnu17", "-Wall", "-Wextra", "-Werror", *sanitize, f"-I{source}", "-x", "c", "-", "-x", "none", static,
        "-o", program, input=example)
    text = run(program)
    assert "refused, try again in" in text and "open" in text, text


def every_function_is_in_the_manual():
    manual = (source / "man" / "libbreaker.3").read_text()
    missing = [name for name in sorted(declared()) if name not in manual]
    assert not missing, missing


def every_field_of_the_configuration_is_in_readme_and_manual():
    fields = re.findall(r'/\* "(\w+)["=]', HEADER)
    assert len(fields) >= 20, fields
    for name in ("README.md", "man/libbreaker.3"):
        text = (source / name).read_text()
        missing = [field for field in fields if field not in text]
        assert not missing, (name, missing)


def the_manual_has_no_lint():
    try:
        run("mandoc", "-Tlint", "-Wwarning", source / "man" / "libbreaker.3")
        run("mandoc", "-Tlint", "-Wwarning", source / "man" / "breaker.1")
    except FileNotFoundError:
        return "SKIP mandoc is not installed"


TESTS = [value for name, value in list(globals().items()) if callable(value) and getattr(value, "__module__", "") == "__main__"
         and name not in ("run", "declared", "exported")]
print(f"1..{len(TESTS)}")
failed = 0
for number, test in enumerate(TESTS, 1):
    try:
        note = test()
        print(f"ok {number} - {test.__name__}" + (f" # {note}" if note else ""))
    except Exception:  # every failure is told, and the next test still runs
        failed += 1
        print(f"not ok {number} - {test.__name__}")
        print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
sys.exit(1 if failed else 0)
