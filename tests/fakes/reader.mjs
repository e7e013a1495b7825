// How Node reads bytes: a line of JSON {kind: "request" | "response", data, method} in, a line {messages, error} out.
// Each message: method and url, or status; raw (names and values in order), body, trailers.  Bytes are latin1 strings.
import http from 'node:http';
import readline from 'node:readline';
import { Duplex } from 'node:stream';

const wire = () => new Duplex({ read() {}, write(chunk, encoding, done) { done(); }, final(done) { done(); } });

function collect(message, found, extra) {
  const parts = [];
  message.on('data', (piece) => parts.push(piece));
  message.on('end', () => {
    found.messages.push({ ...extra, raw: message.rawHeaders, trailers: message.rawTrailers, body: Buffer.concat(parts).toString('latin1') });
  });
}

function requests({ data }) {
  const found = { messages: [], error: null };
  return new Promise((done) => {
    const server = http.createServer({ maxHeaderSize: 128 * 1024 });
    const read = (req, res) => {
      collect(req, found, { method: req.method, url: req.url });
      req.on('end', () => res.end());
    };
    server.on('request', read);
    server.on('checkExpectation', read);
    const over = () => done(found);
    const socket = wire();
    server.on('upgrade', (req, upgraded) => {
      found.messages.push({ method: req.method, url: req.url, raw: req.rawHeaders, trailers: [], body: '' });
      upgraded.destroy();
    });
    server.on('clientError', (error, broken) => { found.error = error.code ?? String(error); broken.destroy(); });
    socket.on('close', over);
    setTimeout(over, 3000).unref();
    server.emit('connection', socket);
    socket.push(Buffer.from(data, 'latin1'));
    socket.push(null);
  });
}

function responses({ data, method }) {
  const found = { messages: [], error: null };
  return new Promise((done) => {
    const socket = wire();
    const req = http.request({ method, createConnection: () => socket, headers: { host: 'x' } });
    const over = () => done(found);
    req.on('response', (res) => {
      collect(res, found, { status: res.statusCode });
      res.on('error', (error) => { found.error = error.code ?? String(error); });
      res.on('close', over);
    });
    req.on('upgrade', (res) => {
      found.messages.push({ status: res.statusCode, raw: res.rawHeaders, trailers: [], body: '' });
      over();
    });
    req.on('error', (error) => { found.error = error.code ?? String(error); over(); });
    setTimeout(over, 3000).unref();
    req.end();
    setImmediate(() => { socket.push(Buffer.from(data, 'latin1')); socket.push(null); });
  });
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  const answer = await (question.kind === 'request' ? requests : responses)(question);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
