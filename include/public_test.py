#!/usr/bin/env python3
"""What is installed: each public header compiles alone, as C and as C++, a library exports its own names only, and the
program in its documentation does what is written there.

    public_test.py CC CXX|- SANITIZERS DOCUMENT LIBRARY PREFIX HEADER...
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def compiles(compiler, language, header):
    """Whether a file that includes this header and nothing else compiles, twice included, without a warning."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "alone.c"
        source.write_text(f'#include "{header}"\n#include "{header}"\n')
        run = subprocess.run([*compiler, "-x", language, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)],
                             capture_output=True, text=True)
    return run.returncode == 0, run.stderr


def exported(library):
    """Names a program can link to. Those of the compiler's own helpers begin with two underscores."""
    run = subprocess.run(["nm", "--dynamic", "--defined-only", "--format=posix", library], capture_output=True,
                         text=True, check=True)
    names = [line.split()[0] for line in run.stdout.splitlines() if line.split()]
    return sorted(name for name in names if not name.startswith("__") and name not in ("_init", "_fini"))


def declared(headers, names):
    text = "".join(pathlib.Path(header).read_text() for header in headers)
    return [name for name in names if f"{name}(" not in text]


def run_example(compiler, sanitizers, document, library, headers):
    """Take the C program out of the document, compile it as a stranger would, and play what the document promises."""
    program = re.search(r"```c\n(.*?)```", pathlib.Path(document).read_text(), re.DOTALL).group(1)
    include = pathlib.Path(headers[0]).parent.parent
    library = pathlib.Path(library).resolve()
    sanitize = [] if sanitizers == "none" else [f"-fsanitize={sanitizers}"]
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "list.c"
        source.write_text(program)
        build = subprocess.run([*compiler, *sanitize, "-Wall", "-Wextra", "-Werror", "-o", f"{folder}/list", str(source),
                                f"-I{include}", str(library)], capture_output=True, text=True)
        if build.returncode != 0:
            return False, build.stderr
        environment = os.environ | {"LD_LIBRARY_PATH": str(library.parent)}
        said = ""
        for words in (["milk", "bread", "milk"], []):
            run = subprocess.run([f"{folder}/list", f"{folder}/data", *words], capture_output=True, text=True,
                                 env=environment, timeout=60)
            said += run.stdout + run.stderr
    stored = "1 item:milk\n2 item:bread\n"
    return said == f"milk: added\nbread: added\nmilk: was there\n{stored}{stored}", said


def main():
    c, cxx, sanitizers, document, library, prefix, *headers = sys.argv[1:]
    number = 0
    failed = False

    def tell(good, what, why=""):
        nonlocal number, failed
        number += 1
        failed |= not good
        print(f"{'ok' if good else 'not ok'} {number} - {what}")
        for line in [] if good else why.splitlines()[:20]:
            print(f"# {line}")

    for header in headers:
        name = pathlib.Path(header).name
        good, why = compiles(c.split(), "c", header)
        tell(good, f"{name} compiles alone as C", why)
        if cxx == "-":
            number += 1
            print(f"ok {number} - {name} compiles alone as C++ # SKIP no C++ compiler")
        else:
            good, why = compiles(cxx.split(), "c++", header)
            tell(good, f"{name} compiles alone as C++", why)
    names = exported(library)
    foreign = [name for name in names if not name.startswith(prefix)]
    tell(bool(names) and not foreign, f"the library exports {prefix}* and nothing else", "\n".join(foreign))
    missing = declared(headers, names)
    tell(not missing, "each exported name is declared in a public header", "\n".join(missing))
    good, why = run_example(c.split(), sanitizers, document, library, headers)
    tell(good, f"the program in {pathlib.Path(document).name} compiles and does what is written there", why)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
