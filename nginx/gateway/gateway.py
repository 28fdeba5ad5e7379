"""Fills in a configuration and knows how to start nginx with it: for tools/run_hotel.py and for the tests.

The module may have been built with sanitizers; nginx was not. Their runtimes must then be the first libraries of the
process, which environment() sees to.
"""
import os
import pathlib
import pwd
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
READY = r"start worker process \d+"     # a line of nginx's error log, when it listens

# What need not be said: a template takes what it has a place for.
DEFAULTS = {"OPEN": "2s", "OPEN_MAX": "30s", "RAMP": "0", "WORKERS": "2", "RATE": "200r/s", "BURST": "400",
            "MAX_IN_FLIGHT": "200"}


def program():
    """nginx, also where it is not on the PATH of ordinary users."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def module(build):
    return pathlib.Path(build).resolve() / "nginx" / "ngx_http_breaker_module.so"


def render(folder, *, build, template="hotel", **values):
    """The configuration as text; template: hotel, api, or ../sidecar/sidecar. `values` fill the places between @…@ and
    overrule DEFAULTS: port=8080, open="200ms", ramp="0", workers="1"."""
    text = (HERE / f"{template}.conf.in").read_text()
    places = set(re.findall(r"@([A-Z_]+)@", text))
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else "# not root: no user to change to"
    filled = {**DEFAULTS, "DIR": str(pathlib.Path(folder).resolve()), "MODULE": str(module(build)), "USER": user,
              "HERE": str(HERE), **{name.upper(): str(value) for name, value in values.items()}}
    unknown = {name.upper() for name in values} - places
    missing = places - set(filled)
    if unknown or missing:
        raise ValueError(f"{template}.conf.in: no place for {sorted(unknown)}, nothing said of {sorted(missing)}")
    return re.sub(r"@([A-Z_]+)@", lambda place: filled[place.group(1)], text)


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
