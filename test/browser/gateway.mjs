// gateway.mjs: nginx with one breaker before a service that a test can spoil; and the breakers' page, for those who may give
// orders and for those who may only look.

import {execFileSync} from 'node:child_process';
import fs from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {freePort} from './hotel.mjs';
import {end, start} from './process.mjs';

const NGINX = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../nginx');
const RULES = 'window=10s min_calls=10 failure_rate=50% consecutive=5 slow_call=200ms slow_rate=60% jitter=0% probes=3 probe_ok=2';

/** A service: answers `status` after `delay_ms`. */
export class Service {
  status = 200;
  delay_ms = 0;

  static async open() {
    const service = new Service();
    service.server = http.createServer((request, response) =>
      setTimeout(() => response.writeHead(service.status).end('here'), service.delay_ms),
    );
    await new Promise(resolve => service.server.listen(0, '127.0.0.1', resolve));
    return service;
  }

  get port() {
    return this.server.address().port;
  }

  close() {
    this.server.closeAllConnections();
    return new Promise(resolve => this.server.close(resolve));
  }
}

function configuration(folder, module, ports, rules) {
  const user = process.getuid() === 0 ? 'user root;' : '';
  const server = (port, orders) => `
    server {
        listen 127.0.0.1:${port};
        server_name localhost;
        location / { breaker_use payments; breaker_fallback @other; proxy_pass http://127.0.0.1:${ports.service}; }
        location @other { return 200 "instead"; }
        location = /breakers { breaker_status; }
        location /breakers/ { ${orders} breaker_control; }
        set $breaker_dashboard ${NGINX}/dashboard;
        include ${NGINX}/gateway/dashboard.conf;
    }`;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    name => `${name}_temp_path ${folder}/${name};`,
  );
  return `
load_module ${module};
${user} daemon off; pid ${folder}/nginx.pid; error_log stderr notice; worker_processes 2;
events { worker_connections 512; }
http {
    access_log off; ${temporary.join(' ')}
    breaker_zone breakers 2m;
    breaker payments ${RULES} ${rules};
    breaker orders window=10s consecutive=10;
    ${server(ports.operator, 'allow 127.0.0.1; deny all;')}
    ${server(ports.guest, 'deny all;')}
}`;
}

/** What nginx/gateway/gateway.py knows of a build: its module, and the environment a sanitized one needs. */
function known(build) {
  const script = `
import json, sys
sys.path.insert(0, sys.argv[1])
import gateway
print(json.dumps([str(gateway.module(sys.argv[2])), gateway.program(), gateway.environment(sys.argv[2])]))`;
  const options = {env: {...process.env, PYTHONDONTWRITEBYTECODE: '1'}};
  return JSON.parse(execFileSync('python3', ['-c', script, `${NGINX}/gateway`, build], options));
}

export class BreakerGateway {
  static async open(build, service, rules = 'open=3s ramp=0') {
    const gateway = new BreakerGateway();
    gateway.folder = await fs.mkdtemp(path.join(os.tmpdir(), 'daybook-dashboard-'));
    gateway.ports = {service: service.port, operator: await freePort(), guest: await freePort()};
    const [module, program, environment] = known(build);
    const file = path.join(gateway.folder, 'nginx.conf');
    await fs.writeFile(file, configuration(gateway.folder, module, gateway.ports, rules));
    const command = [program, '-e', 'stderr', '-p', gateway.folder, '-c', file];
    gateway.nginx = await start(command, /start worker process \d+/, environment);
    return gateway;
  }

  get operatorUrl() {
    return `http://127.0.0.1:${this.ports.operator}/breakers/dashboard/`;
  }

  get guestUrl() {
    return `http://127.0.0.1:${this.ports.guest}/breakers/dashboard/`;
  }

  /** So many calls through the breaker, one after another; answers who answered each. */
  async calls(count) {
    const answers = [];
    for (let i = 0; i < count; i += 1)
      answers.push(await (await fetch(`http://127.0.0.1:${this.ports.operator}/call`)).text());
    return answers;
  }

  async breaker(name = 'payments') {
    const {breakers} = await (await fetch(`http://127.0.0.1:${this.ports.operator}/breakers`)).json();
    return breakers.find(one => one.name === name);
  }

  async close() {
    await end(this.nginx, 'SIGTERM');
    await fs.rm(this.folder, {recursive: true, force: true});
  }
}
