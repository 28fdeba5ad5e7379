"""nginx with one of the configurations that are ready to use, for ready_test.py and authority_test.py."""
import http.client
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile

from harness import (BUILD, HERE, MODULE, NGINX, STATIC, WAIT_S, WRAPPER, WRONG, Answer, certificate, environment, free_port, problems, wait_for,
                     wrapper)

sys.path.insert(0, str(pathlib.Path(HERE).parent / "gateway"))

import gateway  # noqa: E402


class Ready:
    """nginx with one of our templates; get() speaks TLS to its first listener, if it has one and is not told otherwise.
    hurry=10: where the configuration waits for a second, 100 ms are waited; edit: a function of its text; private: nobody but
    who starts it gets at its folder."""

    def __init__(self, template, hurry=1, edit=None, key_kind="ec", private=False, **values):
        text = (gateway.HERE / f"{template}.conf.in").read_text()
        self.tls = "@TLS_PORT@" in text
        self.dir = tempfile.mkdtemp(prefix="daybook-ready-")
        os.chmod(self.dir, 0o700 if private else 0o1777)        # a worker's sanitizer reports here
        self.certificate = certificate(key_kind)
        self.port, self.tls_port = free_port(), free_port()
        ours = {"tls_port": self.tls_port, "certificate": f"{self.certificate}/cert.pem", "key": f"{self.certificate}/key.pem"}
        conf = gateway.write(self.dir, template=template, build=BUILD, module=MODULE, port=self.port,
                             **(ours if self.tls else {}), **values)
        if edit:
            conf.write_text(edit(conf.read_text()))
        if hurry != 1 and not WRAPPER:
            conf.write_text(re.sub(r"(proxy_\w+_timeout) (\d+)s;", lambda m: f"{m[1]} {int(m[2]) * 1000 // hurry}ms;", conf.read_text()))
        if STATIC:      # the module is part of the program
            conf.write_text(conf.read_text().replace("load_module ", "# load_module "))
        if WRAPPER:     # valgrind sets no limits, and needs patience
            text = re.sub(r"worker_rlimit_nofile \d+;", "", conf.read_text())
            conf.write_text(re.sub(r"(proxy_\w+_timeout|keepalive_timeout|client_header_timeout) \d+s;", r"\1 60s;", text))
        self.log = f"{self.dir}/stderr"
        self.process = subprocess.Popen([*wrapper(self.dir), NGINX, *gateway.command(self.dir)[1:]], stdin=subprocess.DEVNULL,
                                        stderr=open(self.log, "w"), env=environment(self.dir))
        wait_for(self.is_ready, "nginx does not listen")

    def is_ready(self):
        assert self.process.poll() is None, self.said()
        return "start worker process " in self.said()

    def said(self):
        return open(self.log, errors="replace").read()

    def get(self, path, method="GET", headers=None, body=None, tls=True, **more):
        tls = tls and self.tls
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for name, value in more.items():
            setattr(context, name, value)
        c = (http.client.HTTPSConnection("127.0.0.1", self.tls_port, timeout=WAIT_S, context=context) if tls
             else http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S))
        try:
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            try:
                return Answer(r.status, r.headers, r.read())
            except http.client.IncompleteRead as cut:
                return Answer(r.status, r.headers, cut.partial)
        finally:
            c.close()

    def breaker(self, name, **more):
        return next(b for b in self.get("/breakers", **more).json["breakers"] if b["name"] == name)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        said, found = self.said(), problems(self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)
        gateway.forget(self.dir)
        shutil.rmtree(self.certificate, ignore_errors=True)
        alerts = [line for line in said.splitlines() if "[alert]" in line and "on signal 9" not in line]
        assert not alerts and not WRONG.search(said) and not found, found or said      # 9: the master has no patience
