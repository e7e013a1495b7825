// The API of the tests in HTTP/2: as api.mjs, it takes only tokens for which isLive(token) holds; gRPC calls with a dead one end with status 16.
//   /echo        what it saw, as JSON               /upload        counts the body        /big?bytes=N   N bytes
//   /trailers    a body and trailers                /hints         103 before the answer  /status/NNN    that status
//   /reset?code= resets with that code              /refuse?n=     REFUSED_STREAM for the first n of them
//   /hold        answers when somebody asks for /release (both below /open/ too)
//   /after-head  a head and some bytes, then a reset with INTERNAL_ERROR
//   /rpc/unary, /rpc/server?n=, /rpc/bidi   gRPC frames: one back, n back, each back
// Everything below /open/ needs no token.  sessions counts connections; listen('h1') makes it a server of HTTP/1.1 alone on the
// same port, listen('deaf') one that closes each connection.
import fs from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';

const BLOCK = Buffer.alloc(64 * 1024);

export async function startH2Api({ isLive, pki, settings = {} }) {
  const pair = { cert: fs.readFileSync(path.join(pki, 'good.pem')), key: fs.readFileSync(path.join(pki, 'good.key')) };
  const sessions = new Set();
  const sockets = new Set();
  const held = [];
  let counts = { sessions: 0, streams: 0, unauthorized: 0, resets: 0 };
  let seen = [];
  let refused = 0;
  let port = 0;
  let server;

  const pour = (stream, left) => {
    const more = () => {
      while (left > 0 && !stream.destroyed) {
        const n = Math.min(left, BLOCK.length);
        left -= n;
        if (!stream.write(n === BLOCK.length ? BLOCK : BLOCK.subarray(0, n)) && left > 0) { stream.once('drain', more); return; }
      }
      stream.end();
    };
    more();
  };

  async function bytesOf(stream) {
    let bytes = 0;
    for await (const piece of stream) bytes += piece.length;
    return bytes;
  }

  function json(stream, status, body, more = {}) {
    const text = JSON.stringify(body);
    stream.respond({ ':status': status, 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...more });
    stream.end(text);
  }

  // Messages of gRPC, however the frames cut them.
  async function* messagesOf(stream) {
    let rest = Buffer.alloc(0);
    for await (const piece of stream) {
      rest = Buffer.concat([rest, piece]);
      while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
        const end = 5 + rest.readUInt32BE(1);
        yield rest.subarray(0, end);
        rest = rest.subarray(end);
      }
    }
  }

  async function call(stream, name, q) {
    const begin = () => stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': '' }));
    let first = true;
    for await (const message of messagesOf(stream)) {
      if (first) begin();
      first = false;
      const times = name === 'server' ? Number(q.get('n') ?? 3) : 1;
      for (let i = 0; i < times; i += 1) stream.write(message);
    }
    if (first) begin();
    stream.end();
  }

  const pages = {
    '/echo': async (stream, q, headers) => json(stream, 200, { headers, bytes: await bytesOf(stream) }),
    '/upload': async (stream) => json(stream, 200, { bytes: await bytesOf(stream) }),
    '/big': (stream, q) => { stream.respond({ ':status': 200 }); pour(stream, Number(q.get('bytes'))); },
    '/trailers': (stream) => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
      stream.end('body');
    },
    '/hints': (stream) => { stream.additionalHeaders({ ':status': 103, link: '</a>; rel=preload' }); json(stream, 200, {}); },
    '/reset': (stream, q) => stream.close(Number(q.get('code'))),
    '/refuse': (stream, q) => { refused += 1; if (refused <= Number(q.get('n'))) stream.close(7); else json(stream, 200, { refused }); },
    '/after-head': (stream) => { stream.respond({ ':status': 200 }); stream.write('some'); setTimeout(() => stream.destroy(new Error('as asked')), 20); },
    '/hold': (stream) => { held.push(() => json(stream, 200, { held: true })); },
    '/release': (stream) => { const n = held.length; for (const go of held.splice(0)) go(); json(stream, 200, { released: n }); },
    '/early': (stream) => json(stream, 413, { early: true }),
  };

  function onStream(stream, headers) {
    counts.streams += 1;
    stream.on('error', () => {});
    stream.on('aborted', () => { counts.resets += 1; });
    const url = new URL(headers[':path'], 'https://h');
    const open = url.pathname.startsWith('/open/');
    const name = open ? url.pathname.slice(5) : url.pathname;
    const token = (headers.authorization ?? '').replace(/^Bearer /, '');
    if (seen.length < 10000) seen.push({ path: headers[':path'], headers: { ...headers } });
    if (!open && !isLive(token, Date.now())) {
      counts.unauthorized += 1;
      if (String(headers['content-type']).startsWith('application/grpc')) {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '16', 'grpc-message': 'token is dead' }, { endStream: true });
      } else json(stream, 401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer' });
      return;
    }
    if (name === '/status/204') stream.respond({ ':status': 204 }, { endStream: true });
    else if (name.startsWith('/status/')) json(stream, Number(name.slice(8)), {});
    else if (name.startsWith('/rpc/')) call(stream, name.slice(5), url.searchParams).catch(() => {});
    else if (pages[name]) Promise.resolve(pages[name](stream, url.searchParams, headers)).catch(() => {});
    else json(stream, 404, { error: 'no such page' });
  }

  async function listen(mode) {
    if (server) {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => { server.close(resolve); });
    }
    if (mode === 'deaf') {
      server = net.createServer((socket) => { socket.on('error', () => {}); socket.destroy(); });
    } else if (mode === 'h1') {
      server = https.createServer({ ...pair, ALPNProtocols: ['http/1.1'] }, (req, res) => { req.resume(); res.end(JSON.stringify({ version: req.httpVersion })); });
    } else {
      server = http2.createSecureServer({ ...pair, settings: { maxConcurrentStreams: 1000, ...settings } });
      server.on('stream', onStream);
      server.on('session', (session) => {
        counts.sessions += 1;
        sessions.add(session);
        session.on('close', () => sessions.delete(session));
        session.on('error', () => {});
      });
      server.on('sessionError', () => {});
    }
    server.on('secureConnection', (socket) => { sockets.add(socket); socket.on('close', () => sockets.delete(socket)); socket.on('error', () => {}); });
    server.on('tlsClientError', () => {});
    await new Promise((resolve) => { server.listen(port, '127.0.0.1', resolve); });
    port = server.address().port;
  }

  await listen('h2');
  return {
    get port() { return port; },
    listen,
    settings: async (changed) => { Object.assign(settings, changed); await listen('h2'); },
    counts: () => counts,
    seen: () => seen,
    release: () => { const n = held.length; for (const go of held.splice(0)) go(); return n; },
    goaway: () => { for (const session of sessions) session.goaway(0); },
    open: () => [...sessions].length,
    clear: () => { counts = { sessions: 0, streams: 0, unauthorized: 0, resets: 0 }; seen = []; refused = 0; held.length = 0; },
  };
}
