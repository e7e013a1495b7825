// A WebSocket server and client (package ws), driven by lines of JSON.
//   node ws.mjs server PKI_DIR            prints {port}; echoes every message; "close NNNN text" makes it close with that code; prints what it saw
//   node ws.mjs client PROXY CA URL       reads {send_bytes | send | close: [code, reason] | ping}, prints {open | message | bytes, sha256 | pong | close: [code, reason] | failed}
// The package is taken from $SIDEKEY_NODE (a folder with node_modules), else ../../build/node.
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import readline from 'node:readline';
import tls from 'node:tls';
import { createHash } from 'node:crypto';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const node = path.resolve(process.env.SIDEKEY_NODE ?? path.join(here, '../../build/node'));
const { default: WebSocket } = await import(pathToFileURL(path.join(node, 'node_modules/ws/index.js')));
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const sha = (data) => createHash('sha256').update(data).digest('hex');

function serve(pki) {
  const server = https.createServer({ cert: fs.readFileSync(path.join(pki, 'good.pem')), key: fs.readFileSync(path.join(pki, 'good.key')) });
  const sockets = new WebSocket.Server({ server, maxPayload: 8 << 20, perMessageDeflate: true });
  sockets.on('connection', (socket, req) => {
    say({ headers: req.headers, url: req.url });
    socket.on('message', (data, binary) => {
      const [word, code, ...reason] = binary ? [] : String(data).split(' ');
      if (word === 'close') socket.close(Number(code), reason.join(' '));
      else socket.send(data, { binary });
    });
    socket.on('close', (code, reason) => say({ close: [code, String(reason)] }));
    socket.on('error', (error) => say({ error: String(error) }));
  });
  server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

function connect(proxy, ca, url) {
  const host = new URL(url).host;
  const [address, port] = proxy.split(':');
  const ask = http.request({ host: address, port, method: 'CONNECT', path: `${host}:443`, headers: { host: `${host}:443` } });
  ask.on('connect', (answer, raw) => {
    if (answer.statusCode !== 200) { say({ failed: answer.statusCode }); return; }
    const secured = tls.connect({ socket: raw, servername: host, ca: fs.readFileSync(ca) }, () => converse(url, secured));
  });
  ask.end();
}

function converse(url, secured) {
  const socket = new WebSocket(url, { createConnection: () => secured, headers: { authorization: 'Bearer placeholder' }, maxPayload: 8 << 20 });
  socket.on('open', () => say({ open: true }));
  socket.on('message', (data, binary) => say(binary ? { bytes: data.length, sha256: sha(data) } : { message: String(data) }));
  socket.on('pong', (data) => say({ pong: String(data) }));
  socket.on('close', (code, reason) => { say({ close: [code, String(reason)] }); process.exit(0); });
  socket.on('unexpected-response', (req, res) => { say({ failed: res.statusCode }); process.exit(0); });
  socket.on('error', (error) => say({ failed: String(error) }));
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const order = JSON.parse(line);
    if (order.send_bytes) { const data = Buffer.alloc(order.send_bytes, Math.random().toString()); say({ sha256: sha(data) }); socket.send(data); }
    if (order.send) socket.send(order.send);
    if (order.ping) socket.ping(order.ping);
    if (order.close) socket.close(...order.close);
  });
}

const [mode, ...args] = process.argv.slice(2);
(mode === 'server' ? serve : connect)(...args);
