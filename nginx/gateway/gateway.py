"""Fills in a configuration and knows how to start nginx with it: for tools/run_hotel.py and for the tests.

The module may have been built with sanitizers; nginx was not. Their runtimes must then be the first libraries of the
process, which environment() sees to.

Started by root, nginx's workers become somebody else, who must get at what they write (bodies, answers, caches: @STATE@) and serve
(the breakers' page: @DASHBOARD@). Both lie where they always do, if that user gets there; else under /run, which forget() cleans.
"""
import hashlib
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
STATE = ("body", "proxy", "fastcgi", "uwsgi", "scgi", "cache", "auth-cache")    # what workers write, under @STATE@


def program():
    """nginx, also where it is not on the PATH of ordinary users."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def module(build):
    return pathlib.Path(build).resolve() / "nginx" / "ngx_http_breaker_module.so"


def worker_user():
    """Whom nginx's workers become when root starts it: the owner of these files, or Debian's user for nginx; None: not root."""
    if os.geteuid() != 0:
        return None
    users = {user.pw_uid: user for user in pwd.getpwall()}
    names = {user.pw_name: user for user in users.values()}
    owner = users.get(HERE.stat().st_uid)
    return owner if owner and owner.pw_uid != 0 else names.get("www-data") or names["nobody"]


def can(user, how, path):
    """May that user, as nginx's worker is one, read (-r) or enter (-x) it? Asked by being that user."""
    return subprocess.run(["test", how, path], user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/").returncode == 0


def aside(folder):
    """Where the workers' own files lie if their user does not get to folder."""
    return pathlib.Path("/run") / f"daybook-gateway-{hashlib.sha256(str(pathlib.Path(folder).resolve()).encode()).hexdigest()[:16]}"


def places(folder, user):
    """The folders of the workers' own files and of the breakers' page. What a worker of another user left is thrown away: all of
    it is temporary."""
    state, dashboard = pathlib.Path(folder).resolve(), HERE.parent / "dashboard"
    if user is None:
        return state, dashboard
    if not (state.is_dir() and can(user, "-x", state)):
        state = aside(folder)
        state.mkdir(mode=0o711, exist_ok=True)
    for name in STATE:
        if (state / name).is_dir() and (state / name).stat().st_uid != user.pw_uid:
            shutil.rmtree(state / name)
    if not can(user, "-r", dashboard / "index.html"):
        copy = aside(folder) / "dashboard"
        copy.parent.mkdir(mode=0o711, exist_ok=True)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(dashboard, copy)
        dashboard = copy
    return state, dashboard


def forget(folder):
    """What was laid aside for a gateway that will not be started again."""
    if os.geteuid() == 0:
        shutil.rmtree(aside(folder), ignore_errors=True)


def render(folder, *, build, template="hotel", **values):
    """The configuration as text; template: hotel, api, or ../sidecar/sidecar. `values` fill the places between @…@ and
    overrule DEFAULTS: port=8080, open="200ms", ramp="0", workers="1"."""
    text = (HERE / f"{template}.conf.in").read_text()
    wanted = set(re.findall(r"@([A-Z_]+)@", text))
    user = worker_user()
    state, dashboard = places(folder, user)
    filled = {**DEFAULTS, "DIR": str(pathlib.Path(folder).resolve()), "MODULE": str(module(build)),
              "USER": f"user {user.pw_name};" if user else "# not root: no user to change to", "STATE": str(state),
              "DASHBOARD": str(dashboard), "HERE": str(HERE), **{name.upper(): str(value) for name, value in values.items()}}
    unknown = {name.upper() for name in values} - wanted
    missing = wanted - set(filled)
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
