// The HTTPS API of the tests: takes only tokens for which isLive(token) holds, and remembers every request.
//
// Certificates come from a folder made by pki.py, chosen by the name asked for (SNI): expired.*, selfsigned.*, wrong.* get the bad ones.
//   /v2/echo           what it saw, as JSON                     /upload       counts and hashes the body
//   /big?bytes=N       N bytes                                  /status/NNN   that status
//   /sse?n=&every_ms=  events at that pace                      /chunked?n=   chunks of different sizes
//   /steps?n=          events, the first at once, each other one only when somebody asks for /step
//   /eof?bytes=N&cut=1 a body that ends with the connection (cut: without close_notify)
//   /slow?ms=N         a late answer                            /early?status= answers before it reads the body
//   /hints             103 before the answer                    /redirect?to=
//   /always401 (…403)  refuses the best token                   NAME.git/…    files of the folder `www`, for git
// A 401 goes out when the head has come; with late=1 in the query, when the body has.  Everything below /open/ needs no token.  "Expect: 100-continue" is answered with 100 only when the token is live.
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import tls from 'node:tls';
import { createHash } from 'node:crypto';

const REMEMBERED = 50_000;
const BLOCK = Buffer.alloc(256 * 1024);

export async function startApi({ isLive, judge, pki, www, port = 0 }) {
  let seen = [];
  let requests = 0;
  let unauthorized = 0;
  let served = 0;

  const pair = (name) => ({
    cert: fs.readFileSync(path.join(pki, `${name}.pem`)), key: fs.readFileSync(path.join(pki, `${name}.key`)),
  });
  const contexts = Object.fromEntries(['expired', 'selfsigned', 'wrong'].map((name) => [name, tls.createSecureContext(pair(name))]));
  const server = https.createServer({
    ...pair('good'), ALPNProtocols: ['http/1.1'], keepAliveTimeout: 5000, requestTimeout: 0,
    SNICallback: (name, done) => done(null, contexts[name.split('.')[0]]),
  });

  function remember(req) {
    requests += 1;
    const entry = {
      at_ms: Date.now(), method: req.method, path: req.url, headers: req.headers, raw: req.rawHeaders, sni: req.socket.servername || '',
    };
    judge.arrived(req, entry);
    if (seen.length < REMEMBERED) seen.push(entry);
    return entry;
  }

  function json(res, status, body, headers = {}) {
    const text = JSON.stringify(body);
    res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers });
    res.end(text);
  }

  // The body is always read to its end, so that a keep-alive connection stays in step.
  async function bodyOf(req, entry) {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of req) { hash.update(piece); bytes += piece.length; }
    entry.body_bytes = bytes;
    entry.body_sha256 = hash.digest('hex');
    entry.trailers = req.trailers;
    return entry;
  }

  function pour(res, bytes) {
    let left = bytes;
    const more = () => {
      while (left > 0 && !res.destroyed) {
        const n = Math.min(left, BLOCK.length);
        left -= n;
        if (!res.write(n === BLOCK.length ? BLOCK : BLOCK.subarray(0, n)) && left > 0) { res.once('drain', more); return; }
      }
      res.end();
    };
    more();
  }

  const EVENTS = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' };

  let step = () => false;
  function steps(res, n) {
    res.writeHead(200, EVENTS);
    let i = 0;
    step = () => {
      if (i === n) return false;
      res.write(`data: ${i}\n\n`);
      i += 1;
      if (i === n) res.end();
      return true;
    };
    step();
  }

  function sse(res, n, everyMs) {
    res.writeHead(200, EVENTS);
    let i = 0;
    const timer = setInterval(() => {
      res.write(`data: ${JSON.stringify({ i, at_ms: Date.now() })}\n\n`);
      i += 1;
      if (i === n) { clearInterval(timer); res.end(); }
    }, everyMs);
    res.on('close', () => clearInterval(timer));
  }

  // A body without a length, ended by the connection: Node would choose chunks, so the bytes are written by hand.
  function untilEof(req, bytes, cut) {
    req.socket.write(`HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n\r\n${'e'.repeat(bytes)}`,
      () => { if (cut) req.socket.destroy(); else req.socket.end(); });
  }

  function gitFile(res, name) {
    const file = path.join(www ?? '/nonexistent', path.normalize(name));
    if (!www || !file.startsWith(www) || !fs.existsSync(file) || !fs.statSync(file).isFile()) { json(res, 404, { error: 'no such file' }); return; }
    res.writeHead(200, { 'content-length': fs.statSync(file).size });
    fs.createReadStream(file).pipe(res);
  }

  const pages = {
    '/big': (req, res, q) => {
      const bytes = Number(q.get('bytes') ?? 1024);
      res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes });
      pour(res, bytes);
    },
    '/sse': (req, res, q) => sse(res, Number(q.get('n') ?? 5), Number(q.get('every_ms') ?? 100)),
    '/steps': (req, res, q) => steps(res, Number(q.get('n') ?? 5)),
    '/step': (req, res) => json(res, step() ? 200 : 409, {}),
    '/chunked': (req, res, q) => {
      const n = Number(q.get('n') ?? 10);
      res.writeHead(200, { 'content-type': 'text/plain', trailer: 'x-checksum' });
      const hash = createHash('sha256');
      for (let i = 0; i < n; i += 1) { const piece = 'x'.repeat(i * 997 + 1); hash.update(piece); res.write(piece); }
      res.addTrailers({ 'x-checksum': hash.digest('hex') });
      res.end();
    },
    '/eof': (req, res, q) => untilEof(req, Number(q.get('bytes') ?? 100_000), q.get('cut') === '1'),
    '/slow': (req, res, q) => setTimeout(() => json(res, 200, { slow: true }), Number(q.get('ms') ?? 500)),
    '/hints': (req, res) => { res.writeEarlyHints({ link: '</style.css>; rel=preload' }); json(res, 200, { hints: true }); },
    '/redirect': (req, res, q) => json(res, 302, {}, { location: q.get('to') ?? '/v2/echo' }),
    '/always401': (req, res) => { unauthorized += 1; json(res, 401, { error: 'this page refuses every token' }, { 'www-authenticate': 'Bearer' }); },
    '/always403': (req, res) => json(res, 403, { error: 'insufficient_scope' }),
    '/forged': (req, res) => json(res, 200, {}, { 'proxy-status': 'sidekey; error=forged', 'alt-svc': 'h3=":443"' }),
  };

  async function serve(req, res, entry) {
    const url = new URL(req.url, 'https://api.invalid');
    const name = url.pathname.replace(/^\/open\//, '/');
    if (pages[name]) {
      bodyOf(req, entry).catch(() => {});
      pages[name](req, res, url.searchParams);
      return;
    }
    if (name === '/early') { json(res, Number(url.searchParams.get('status') ?? 413), { early: true }); req.resume(); return; }
    await bodyOf(req, entry);
    const status = /^\/status\/(\d{3})$/.exec(name);
    if (status) json(res, Number(status[1]), { status: Number(status[1]) });
    else if (name.includes('.git/')) gitFile(res, name);
    else if (name === '/v2/echo' || name.startsWith('/v2/echo/') || name === '/upload') json(res, 200, entry);
    else json(res, 404, { error: 'no such page', path: name });
  }

  function refuse(req, res, entry) {
    unauthorized += 1;
    entry.status = 401;
    const read = bodyOf(req, entry).catch(() => {});
    const say = () => json(res, 401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer realm="api", error="invalid_token"' });
    if (/[?&]late=1/.test(req.url)) read.then(say);
    else say();
  }

  function allowed(req, entry) {
    if (req.url.startsWith('/open/')) return true;
    const token = /^Bearer (\S+)$/i.exec(req.headers.authorization ?? '')?.[1];
    entry.live = token !== undefined && isLive(token, judge.arrived_ms());
    return entry.live;
  }

  function onRequest(req, res) {
    const entry = remember(req);
    if (!allowed(req, entry)) { refuse(req, res, entry); return; }
    served += 1;
    serve(req, res, entry).catch(() => res.destroy());
  }

  server.on('request', onRequest);
  server.on('checkContinue', (req, res) => {
    const entry = remember(req);
    entry.expected = true;
    if (!allowed(req, entry)) { refuse(req, res, entry); return; }
    served += 1;
    res.writeContinue();
    serve(req, res, entry).catch(() => res.destroy());
  });
  server.on('clientError', (error, socket) => socket.destroy());
  server.on('tlsClientError', () => {});
  await new Promise((done) => { server.listen(port, '127.0.0.1', done); });

  return {
    port: server.address().port,
    counts: () => ({ api_requests: requests, api_unauthorized: unauthorized, api_served: served }),
    requests: () => seen,
    clear: () => { seen = []; requests = 0; unauthorized = 0; served = 0; },
  };
}
