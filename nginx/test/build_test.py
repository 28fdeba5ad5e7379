#!/usr/bin/env python3
"""The other ways to build the module: nginx's own, Debian's package, and linked in with the address sanitizer.

NGINX_SOURCE may name a folder with Debian's nginx source, for the last one; else `apt-get source` fetches it, with lists of
packages of its own.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from harness import HERE, Skip, test

ROOT = pathlib.Path(HERE).resolve().parents[1]
HEADERS = pathlib.Path(os.environ.get("NGINX_HEADERS", "/usr/share/nginx/src"))
SOURCE = os.environ.get("NGINX_SOURCE", "")
SUITES = ["verdict", "answer", "retries", "traffic", "life", "peers", "conf", "control_fuzz", "ready", "authority", "monitoring"]


def run(command, cwd=None, **environment):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, **environment})
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def debian_source(folder):
    """Debian's nginx, patched: its newest version of this release that the archive has."""
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "cache/archives/partial").mkdir(parents=True)
    (folder / "sources.list").write_text("deb-src http://deb.debian.org/debian bookworm main\n"
                                         "deb-src http://deb.debian.org/debian-security bookworm-security main\n")
    apt = ["-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null", "-o",
           f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache", "-qq"]
    if subprocess.run(["apt-get", *apt, "update"], capture_output=True).returncode != 0:
        raise Skip("NGINX_SOURCE names no nginx source, and the archive cannot be reached")
    versions = [line.split()[1] for line in run(["apt-cache", *apt, "showsrc", "nginx"]).splitlines()
                if line.startswith("Version:")]
    for version in sorted(versions, reverse=True, key=lambda one: [int(n) for n in re.findall(r"\d+", one)]):
        if subprocess.run(["apt-get", *apt, "source", "--only-source", f"nginx={version}"], cwd=folder,
                          capture_output=True).returncode == 0:
            return next(path for path in folder.glob("nginx-*") if path.is_dir())
    raise Skip("the archive has no source of nginx any more")


class Folder:
    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="daybook-build-"))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def suite(name, **environment):
    run([sys.executable, pathlib.Path(HERE) / f"{name}_test.py"], **environment)


def check_exports(module):
    exported = {line.split()[-1] for line in run(["nm", "-D", "--defined-only", module]).splitlines()}
    assert exported == {"ngx_modules", "ngx_module_names", "ngx_module_order"}, exported


@test
def nginx_itself_builds_it_as_a_dynamic_module(scene):
    with Folder() as folder:
        run(["bash", "-c", f'. ./conf_flags; ./configure --builddir={folder} "${{NGX_CONF_FLAGS[@]}}" '
                           f'--with-cc-opt="-O2 -fPIC" --add-dynamic-module={ROOT}/nginx'], cwd=HEADERS)
        run(["make", "-f", folder / "Makefile", "modules"], cwd=HEADERS)
        module = folder / "ngx_http_breaker_module.so"
        check_exports(module)
        for name in ("conf", "answer"):
            suite(name, BREAKER_MODULE=str(module), BREAKER_PRELOAD="")


@test
def debian_builds_a_package_that_loads(scene):
    if not shutil.which("dpkg-buildpackage") or not shutil.which("dh"):
        raise Skip("dpkg-dev and debhelper are not installed")
    with Folder() as folder:
        for name in ("nginx", "breaker", "debian"):
            shutil.copytree(ROOT / name, folder / "daybook" / name)
        run(["dpkg-buildpackage", "-b", "-us", "-uc", "-d"], cwd=folder / "daybook")
        package = next(folder.glob("libnginx-mod-http-breaker_*.deb"))
        assert "nginx-abi-" in run(["dpkg-deb", "-f", package, "Depends"])
        run(["dpkg-deb", "-x", package, folder / "root"])
        module = folder / "root/usr/lib/nginx/modules/ngx_http_breaker_module.so"
        check_exports(module)
        assert "ngx_http_breaker_module.so" in (folder / "root/usr/share/nginx/modules-available/mod-http-breaker.conf"
                                                ).read_text()
        suite("conf", BREAKER_MODULE=str(module), BREAKER_PRELOAD="")
        if shutil.which("lintian"):
            said = run(["lintian", "--fail-on=error,warning", "--allow-root", package])
            assert not re.search("^[EW]:", said, re.M), said


@test
def linked_in_with_address_sanitizer_and_without_pools_it_passes_all_suites(scene):
    with Folder() as folder:
        shutil.copytree(SOURCE or debian_source(folder), folder / "nginx", symlinks=True)
        run(["./configure", "--with-debug", "--with-http_ssl_module", "--with-http_v2_module",
             "--with-http_auth_request_module", f"--add-module={ROOT}/nginx",
             "--with-cc-opt=-O1 -g -fsanitize=address -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1 -Wno-error",
             "--with-ld-opt=-fsanitize=address"], cwd=folder / "nginx")
        run(["make", f"-j{os.cpu_count()}"], cwd=folder / "nginx")
        for name in SUITES:
            suite(name, BREAKER_STATIC="1", NGINX_PROGRAM=str(folder / "nginx/objs/nginx"), BREAKER_PRELOAD="",
                  BREAKER_TEST_WAIT_S="60")


if __name__ == "__main__":
    sys.exit(test.run())
