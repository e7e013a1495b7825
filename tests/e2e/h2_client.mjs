// An HTTP/2 program: `node h2_client.mjs PROXY HOST CA STEPS` opens a tunnel, then does the steps (JSON) and prints what came of each.
// A step: {path, method?, headers?, body?, cancel_after?, count?, rest?, rest_after?}; count: as many at once, of
// which a summary is printed; rest: more of the body, after so many ms.
import fs from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';

const [proxy, host, ca, text] = process.argv.slice(2);
const [proxyHost, proxyPort] = proxy.split(':');

function open() {
  return new Promise((resolve, reject) => {
    const raw = net.connect(Number(proxyPort), proxyHost, () => raw.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`));
    raw.once('error', reject);
    raw.once('data', (head) => {
      if (!head.toString().startsWith('HTTP/1.1 200')) { reject(new Error(head.toString())); return; }
      const secured = tls.connect({ socket: raw, servername: host, ca: fs.readFileSync(ca), ALPNProtocols: ['h2', 'http/1.1'] }, () => resolve(secured));
      secured.once('error', reject);
    });
  });
}

function ask(session, step) {
  return new Promise((resolve) => {
    const out = { status: 0, bytes: 0, interim: [] };
    const stream = session.request({ ':method': step.method ?? 'GET', ':path': step.path, authorization: 'Bearer placeholder-held-by-the-program', ...step.headers }, { endStream: step.body === undefined });
    const pieces = [];
    stream.on('headers', (h) => out.interim.push(h[':status']));
    stream.on('response', (h) => { out.status = h[':status']; out.headers = h; if (step.cancel_after === 'head') stream.close(8); });
    stream.on('trailers', (h) => { out.trailers = { ...h }; });
    stream.on('data', (piece) => { out.bytes += piece.length; if (out.bytes < 100000) pieces.push(piece); });
    stream.on('error', (e) => { out.error = e.code; });
    stream.on('close', () => { out.code = stream.rstCode; out.body = Buffer.concat(pieces).toString('latin1'); resolve(out); });
    if (step.rest !== undefined) {
      stream.write(Buffer.from(step.body, 'latin1'));
      setTimeout(() => stream.end(Buffer.from(step.rest, 'latin1')), step.rest_after);
    } else if (step.body !== undefined) stream.end(typeof step.body === 'number' ? Buffer.alloc(step.body) : Buffer.from(step.body, 'latin1'));
    if (step.cancel_after !== undefined && step.cancel_after !== 'head') setTimeout(() => stream.close(8), step.cancel_after);
  });
}

const secured = await open();
if (secured.alpnProtocol !== 'h2') {
  console.log(JSON.stringify({ alpn: secured.alpnProtocol }));
  process.exit(0);
}
const session = http2.connect(`https://${host}`, { createConnection: () => secured });
const events = [];
session.on('goaway', (code) => events.push(`goaway ${code}`));
session.on('error', (e) => events.push(e.code));
const results = [];
for (const step of JSON.parse(text)) {
  if (step.count) {
    const all = await Promise.all(Array.from({ length: step.count }, () => ask(session, step)));
    const statuses = {};
    for (const one of all) statuses[one.status || one.error] = (statuses[one.status || one.error] ?? 0) + 1;
    results.push({ statuses, bytes: all.reduce((n, one) => n + one.bytes, 0) });
  } else results.push(await ask(session, step));
}
console.log(JSON.stringify({ alpn: 'h2', results, events }));
session.close();
setTimeout(() => process.exit(0), 100);
