"""What is measured and what it is measured beside: daybook, Redis, nginx, SQLite, each a process or library of its own."""
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

STALL_US_MAX = 50_000  # a load kept from its core for longer measured the machine's other guests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "test" / "system"))


class Setting:
    """Folders and programs of one run; everything is gone afterwards."""

    def __init__(self, build, rounds, seconds):
        os.environ["DAYBOOK_BUILD"] = str(build)
        self.build, self.rounds, self.seconds, self.stalls = build, rounds, seconds, 0
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="daybook-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        shutil.rmtree(self.folder, ignore_errors=True)

    def machine(self):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"

    def server(self, name, app=None, **more):
        """A daybook server with a data folder `name`, kept from one call to the next."""
        from daybook_test import Server
        return Server(app, data=self.folder / name, **more)

    def command(self, url, what, clients, seconds, warmup, options):
        return [str(self.build / "daybook"), "bench", what, "--url", url, "--clients", str(clients), "--seconds", str(seconds),
                "--warmup", str(warmup), "--json", *map(str, options)]

    def load(self, url, what, clients, *options, seconds=None, warmup=1):
        """daybook bench: a dictionary of per_second, p50_us, p99_us, p999_us, stall_us."""
        done = subprocess.run(self.command(url, what, clients, seconds or self.seconds, warmup, options),
                              capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"daybook bench {what}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def start_load(self, url, what, clients, seconds, *options):
        """The same in the background; call .communicate() for its figures."""
        return subprocess.Popen(self.command(url, what, clients, seconds, 1, options), stdout=subprocess.PIPE, text=True,
                                stderr=subprocess.DEVNULL)

    def steady(self, measure, tries=4):
        """A run in which the machine did not stand still: the load's own thread tells how long it was kept waiting."""
        for _ in range(tries):
            result = measure()
            if result.get("stall_us", 0) < STALL_US_MAX:
                break
            self.stalls += 1
        return result

    def turns(self, ours, theirs):
        """Ours and the peer in turn: two lists."""
        pairs = [(self.steady(theirs), self.steady(ours)) for _ in range(self.rounds)]
        return [pair[1] for pair in pairs], [pair[0] for pair in pairs]


class Redis:
    """Redis with an append-only file, synced before each answer."""

    def __init__(self, setting):
        from daybook_test import Process
        folder = setting.folder / "redis"
        folder.mkdir(exist_ok=True)
        self.socket = None
        self.port = free_port()
        self.process = Process(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                                "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"],
                               r"Ready to accept connections")

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *error):
        self.process.kill()

    def xadd(self, clients, size, seconds):
        """XADD of one field of `size` bytes, `clients` at once: requests a second."""
        count = 2000
        while True:
            began = os.times().elapsed
            done = subprocess.run(["redis-benchmark", "-h", "127.0.0.1", "-p", str(self.port), "-c", str(clients), "-n",
                                   str(count), "--csv", "XADD", "measured", "*", "data", "x" * size],
                                  capture_output=True, text=True, check=True)
            took = os.times().elapsed - began
            if took >= seconds * 0.8:
                values = [float(value) for value in re.findall(r'"([0-9.]+)"', done.stdout.strip().splitlines()[-1])]
                # requests a second; then in ms: mean, least, p50, p95, p99, most
                return {"per_second": values[0], "p50_us": values[3] * 1000, "p99_us": values[5] * 1000}
            count = int(count * max(2.0, min(20.0, seconds / max(took, 0.05))))


class Nginx:
    """nginx serving files, one worker, as its users would for speed."""

    def __init__(self, setting, files):
        from daybook_test import Process
        folder = setting.folder / "nginx"
        (folder / "files").mkdir(parents=True, exist_ok=True)
        for name, body in files.items():
            (folder / "files" / name).write_bytes(body)
        self.port = free_port()
        configuration = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # the folder is ours alone
        configuration.write_text(f"""
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log notice;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=100; default_type application/json;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{self.port}; root {folder}/files; }}
}}
""")
        (folder / "files" / "ready").write_text("ready")
        self.process = Process(["sh", "-c", f"nginx -e {folder}/error.log -c {configuration} & echo started; wait $!"], "started")
        self.pid_file = folder / "nginx.pid"

    def __enter__(self):
        from daybook_test import request, wait_for
        self.process.start()

        def answers():
            try:
                return request(self.port, "GET", "/ready").status == 200
            except OSError:
                return False
        wait_for(answers, "nginx answers")
        return self

    def __exit__(self, *error):
        os.kill(int(self.pid_file.read_text()), 15)
        self.process.process.wait(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
