"""Fills in hotel.conf.in and knows how to start nginx with it: for tools/run_hotel.py and for the tests.

The module may have been built with sanitizers; nginx was not. Their runtimes must then be the first libraries of the
process, which environment() sees to.
"""
import os
import pathlib
import pwd
import re
import shutil
import subprocess

TEMPLATE = pathlib.Path(__file__).resolve().parent / "hotel.conf.in"
READY = r"start worker process \d+"     # a line of nginx's error log, when it listens

DEFAULTS = {"OPEN": "2s", "OPEN_MAX": "30s", "RAMP": "0", "WORKERS": "2"}


def program():
    """nginx, also where it is not on the PATH of ordinary users."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def module(build):
    return pathlib.Path(build).resolve() / "nginx" / "ngx_http_breaker_module.so"


def render(folder, *, build, port, leader, follower, **more):
    """The configuration as text. `more` overrides DEFAULTS: open="200ms", open_max="1s", ramp="0", workers="1"."""
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else "# not root: no user to change to"
    values = {**DEFAULTS, **{name.upper(): str(value) for name, value in more.items()},
              "DIR": str(pathlib.Path(folder).resolve()), "MODULE": str(module(build)), "USER": user,
              "PORT": str(port), "LEADER": str(leader), "FOLLOWER": str(follower)}
    text = re.sub(r"@([A-Z_]+)@", lambda match: values[match.group(1)], TEMPLATE.read_text())
    unknown = set(more) - {name.lower() for name in DEFAULTS}
    if unknown:
        raise ValueError(f"hotel.conf.in knows no {', '.join(sorted(unknown))}")
    return text


def write(folder, **values):
    """The configuration as a file under folder; its path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nginx.conf"
    path.write_text(render(folder, **values))
    return path


def command(folder):
    """What starts nginx in the foreground with the file that write() made."""
    folder = pathlib.Path(folder).resolve()
    return [program(), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def environment(build):
    """Variables that the nginx process needs besides the usual ones."""
    path = module(build)
    if not path.exists() or b"libasan.so" not in path.read_bytes():
        return {}
    found = [subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
             for name in ("libasan.so", "libubsan.so")]
    # nginx keeps what it allocates until it ends, and is not ours: leaks are not looked for
    return {"LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
