#!/usr/bin/env python3
"""What a client says of itself reaches no service: every location of every ready configuration is read out of it and tried with
forged headers. A location that is new has no recipe below, and fails here until it has."""
import http.client
import pathlib
import re
import ssl
import subprocess
import sys

from harness import WAIT_S, test
from ready import Ready, gateway

NAMES = ["Daybook-Roles", "X-Required-Role", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
         "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups",
         "X-Auth-Request-User", "X-Auth-Request-Groups", "X-Real-IP", "X-Client-IP", "True-Client-IP", "X-Remote-User",
         "Remote-User", "X-User", "X-Client-Cert", "X-Ssl-Client-Cert",
         "X-Forwarded", "X-Forwarded-By", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-Prefix",
         "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Client-Cert", "X-Forwarded-Preferred-Username",
         "X-Forwarded-Access-Token", "Forwarded-For", "X-Original-Forwarded-For", "X-Original-Host", "X-Original-URL",
         "X-Original-Method", "X-Rewrite-URL", "X-Host", "X-HTTP-Method", "X-HTTP-Method-Override",
         "X-Method-Override", "X-Auth-Request-Email", "X-Auth-Request-Preferred-Username",
         "X-Auth-Request-Access-Token", "X-Authenticated-User", "X-Consumer-Username", "X-Role", "X-Roles",
         "X-Cluster-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP", "X-Envoy-External-Address",
         "X-SSL-Client-Verify", "X-SSL-Client-S-DN", "Ssl-Client-Cert", "Proxy"]
# each as it is, in other letters, with underscores, twice; and named in Connection, which would have it dropped on the way
FORGED = [(form(name), "forged, operator") for name in NAMES
          for form in (str, str.lower, str.upper, lambda n: n.replace("-", "_"), lambda n: n.replace("-", "_", 1), str)]
FORGED += [("Connection", "close, Daybook-Roles, X-Forwarded-For")]

# configuration: location: (method, path, order to the breaker before it)
RECIPES = {
    "api": {
        "= /.auth": ("GET", "/hotel/v1/views/a", None),
        "@hotel": ("GET", "/hotel/v1/views/x", None),
        "@hotel-patient": ("GET", "/hotel/v1/log", None),
        "@hotel-write": ("POST", "/hotel/v1/append", None),
        "@hotel-write-patient": ("POST", "/hotel/v1/groups/g/fetch", None),
        "@hotel_replica": ("GET", "/hotel/v1/views/y", "hotel"),
        "@hotel_replica-patient": ("GET", "/hotel/v1/log", "hotel"),
        "@ledger": ("GET", "/ledger/x", None),
        "@ledger-patient": ("GET", "/ledger/v1/log", None),
    },
    "hotel": {
        "/": ("GET", "/v1/views/x", None),
        "@patient": ("GET", "/v1/events?as_of=1", None),
        "@write": ("POST", "/v1/commands/X", None),
        "@service2": ("GET", "/v1/views/x", "service1"),
        "@service2_patient": ("GET", "/v1/events?as_of=1", "service1"),
    },
    "../sidecar/sidecar": {
        "/": ("GET", "/x", None),
        "@patient": ("GET", "/v1/log", None),
        "/payments/": ("GET", "/payments/x", None),
    },
}


WORD = re.compile(r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|[^\s{};"']+""")


def words(text):
    """nginx's syntax: words, and { } ; by themselves."""
    return [word for word in WORD.findall(text) if not word.startswith("#")]


def blocks(text, found=None):
    """Every block of a configuration as (its words, the directives that stand in it), innermost first."""
    found, stack, line = [] if found is None else found, [([], [])], []
    for word in words(text):
        if word == "{":
            stack.append((line, []))
            line = []
        elif word == "}":
            found.append(stack.pop())
        elif word == ";":
            if line[:1] == ["include"]:
                included = pathlib.Path(line[1])
                stack[-1][1].append(["include", included.name])
                blocks(included.read_text(), found)
            else:
                stack[-1][1].append(line)
            line = []
        else:
            line.append(word)
    return found


def rendered(name):
    text = (gateway.HERE / f"{name}.conf.in").read_text()
    return text.replace("@HERE@", str(gateway.HERE))


def has(directives, word):
    return any(one[0] == word for one in directives)


def place(scene, name):
    """The configuration, and what its services are: each location says in a header that it was there."""
    one, two, auth = scene.upstream("one"), scene.upstream("two"), scene.upstream("auth", "204")
    auth.headers = {"Daybook-Roles": "reader"}
    at = [f"127.0.0.1:{u.port}" for u in (one, two, auth)]
    values = {"api": {"hotel": at[0], "replica": at[1], "ledger": at[0], "auth": at[2]},
              "hotel": {"leader": one.port, "follower": two.port},
              "../sidecar/sidecar": {"service": at[0], "payments": at[1], "payments_name": "x",
                                     "trusted": "/etc/ssl/certs/ca-certificates.crt"}}[name]

    def edit(text):
        text = text.replace("https://payments/", "http://payments/")
        return re.sub(r"location ([^{]+?) \{", lambda m: m[0] + f' add_header X-Location "{m[1]}" always;', text)

    return scene.add(Ready(name, edit=edit, **values)), (one, two, auth)


def send(g, method, path, tls):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    c = (http.client.HTTPSConnection("127.0.0.1", g.tls_port, timeout=WAIT_S, context=context) if tls
         else http.client.HTTPConnection("127.0.0.1", g.port, timeout=WAIT_S))
    c.putrequest(method, path, skip_host=True)
    for name, value in [("Host", "localhost"), ("Authorization", "Bearer x"), *FORGED]:
        c.putheader(name, value)
    c.putheader("Content-Length", "0")
    c.endheaders()
    r = c.getresponse()
    r.read()
    c.close()
    return r


def http2(g, method, path):
    lines = [word for name, value in FORGED[:-1] for word in ("-H", f"{name}: {value}")]
    subprocess.run(["curl", "-sk", "--http2", "-m", str(WAIT_S), "-X", method, "-o", "/dev/null", "-H", "Authorization: Bearer x", *lines, f"https://127.0.0.1:{g.tls_port}{path}"], check=True, timeout=2 * WAIT_S)


def check(services, name, where):
    one, two, auth = services
    seen = [(u, headers) for u in services for _, _, headers, _ in u.requests]
    assert seen, (name, where)
    for u, headers in seen:
        bad = {k: v for k, v in headers.items() if "forged" in v or "operator" in v or "_" in k}
        assert not bad, (name, where, bad)
        roles = "reader" if name == "api" and u is not auth else None
        assert headers.get("daybook-roles") == roles, (name, where, headers)
        assert headers.get("x-forwarded-for") == "127.0.0.1", (name, where, headers)
    for u in services:
        u.forget()


@test
def every_location_that_calls_a_service_has_a_recipe_here(scene):
    for name, recipes in RECIPES.items():
        called = {" ".join(words_[1:]) for words_, directives in blocks(rendered(name))
                  if words_[:1] == ["location"] and any(re.fullmatch(r"(proxy|fastcgi|uwsgi|scgi|grpc)_pass", d[0]) for d in directives)}
        assert called == set(recipes), (name, called ^ set(recipes))


@test
def wherever_a_header_is_set_the_identity_is_cleared_too(scene):
    for name in RECIPES:
        setting = [(words_, directives) for words_, directives in blocks(rendered(name)) if has(directives, "proxy_set_header")]
        assert setting, name
        for words_, directives in setting:
            assert ["include", "identity.conf"] in directives, (name, words_)
        assert any(words_ == ["http"] for words_, _ in setting), name       # for those that set none


@test
def no_location_passes_on_what_a_client_says_of_itself(scene):
    for name, recipes in RECIPES.items():
        g, services = place(scene, name)
        tried = set()
        for where, (method, path, open_) in recipes.items():
            tls = g.tls and where != "/payments/"
            if open_:
                g.get(f"/breakers/{open_}/open", method="POST", body="{}", headers={"Content-Type": "application/json"})
            r = send(g, method, path, tls)
            assert r.status == 200 and (r.headers["X-Location"] == where or where == "= /.auth"), (name, where, r.headers.items())
            if where == "= /.auth":
                assert services[2].count(), "the authority was not asked"
            check(services, name, where)
            if tls:
                http2(g, method, path.replace("views/", "views/2"))
                check(services, name, where + " over HTTP/2")
            if open_:
                g.get(f"/breakers/{open_}/reset", method="POST", body="{}", headers={"Content-Type": "application/json"})
            tried.add(where)
        assert tried == set(recipes)


if __name__ == "__main__":
    sys.exit(test.run())
