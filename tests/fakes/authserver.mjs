// A real authorization server for the tests: oidc-provider with rotation and reuse detection, and the API that takes only its live tokens.
//
//   node authserver.mjs '{"access_ttl": 2, "pki": "DIR", "www": "DIR"}'
//
// Prints one JSON line when ready: {"issuer", "token_url", "control", "api_port", "client_id", "client_secret"}; ends when its stdin ends.
// `control` is the way in for a test (all answers are JSON):
//   POST /mint {ttl?, subject?, client?}   a refresh token of a new grant -> {refresh_token, grant}
//   GET  /counts                 what was asked and what happened since the last POST /reset
//   GET  /events  /secrets       everything that happened, in order; every token and secret ever made
//   POST /revoke_access {grant?} the access tokens of one grant (or all) are dead from now on: the API answers 401
//   POST /ttl {access, then?}    life of the access tokens made from now on, in seconds; then: of the second one and later
//   POST /watch_askers {on}      from now on the book says which process made each token request
//   POST /faults [{...}]         one entry for each of the next token requests; see faulty() below
//   GET  /shapes                 the shapes of shapes.mjs; a token request with X-Shape: NAME gets one, once since the last POST /reset (NAME*: always)
//   GET  /requests   POST /requests/clear   what the API saw
//   GET  /verdict   POST /expect {host: subject}   what judge.mjs says of it
//   GET  /revoked                the grants that were revoked since the last POST /reset
//   GET /keys  POST /subject  POST /clock {offset_s}  POST /settings   for the grants of grants.mjs
// The package is taken from $SIDEKEY_NODE (a folder with node_modules), else ../../build/node.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createHash, randomBytes } from 'node:crypto';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { startApi } from './api.mjs';
import { makeGrants } from './grants.mjs';
import { startH2Api } from './h2api.mjs';
import { makeJudge } from './judge.mjs';
import { shapes } from './shapes.mjs';
import { signInClients, signInFeatures } from './signin.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const node = path.resolve(process.env.SIDEKEY_NODE ?? path.join(here, '../../build/node'));
const { Provider, default: OldProvider, errors } = await import(
  pathToFileURL(path.join(node, 'node_modules/oidc-provider/lib/index.js')));
const joseAt = path.join(node, 'node_modules/jose');
const joseMain = JSON.parse(fs.readFileSync(path.join(joseAt, 'package.json'))).exports['.'];
const jose = await import(pathToFileURL(path.join(joseAt, joseMain.import ?? joseMain.default)));

const options = { access_ttl: 60, refresh_ttl: 3600, scope: 'openid offline_access', ...JSON.parse(process.argv[2] ?? '{}') };
const secrets = new Set();
const events = [];
const faults = [];
const revokedGrants = [];
const shaped = new Set();
const made = new Map(); // every access token ever: {subject, end_ms}
const judge = makeJudge((token) => made.get(token));
let counts;
const zero = () => ({
  token_requests: 0, refreshes: 0, client_credentials: 0, errors: 0, reuse: 0, double_spend: 0,
  grants_revoked: 0, introspections: 0, access_revoked: 0, faults: 0,
});
counts = zero();

function note(what, detail = {}) {
  events.push({ at_ms: Date.now(), what, ...detail });
}

// --- storage: as the package's own, but without its bound of 1000 entries, and with the moment of birth in milliseconds:
// the package counts whole seconds, by which a token of two seconds may live one.
const stored = new Map();

class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, expiresIn) {
    if (['AccessToken', 'RefreshToken', 'ClientCredentials'].includes(this.model)) secrets.add(id);
    const life = { born_ms: Date.now(), ttl_ms: expiresIn === undefined ? Infinity : expiresIn * 1000 };
    if (['AccessToken', 'ClientCredentials'].includes(this.model)) made.set(id, { subject: payload.accountId, end_ms: life.born_ms + life.ttl_ms });
    stored.set(this.key(id), { ...payload, ...life });
  }
  async find(id) { return stored.get(this.key(id)); }
  async findByUid(uid) { return [...stored.values()].find((p) => p.uid === uid); }
  async findByUserCode(code) { return [...stored.values()].find((p) => p.userCode === code); }
  async destroy(id) { stored.delete(this.key(id)); }
  async consume(id) {
    const payload = stored.get(this.key(id));
    if (payload.consumed) counts.double_spend += 1;
    payload.consumed = Math.floor(Date.now() / 1000);
  }
  async revokeByGrantId(grant) { revoke((key, payload) => payload.grantId === grant && key.startsWith(`${this.model}:`)); }
}

function revoke(which) {
  let n = 0;
  for (const [key, payload] of stored) {
    if (which(key, payload)) { stored.delete(key); n += 1; }
  }
  return n;
}

// at_ms: when it arrived, which may be a moment ago.
function isLive(token, at_ms) {
  const payload = stored.get(`AccessToken:${token}`) ?? stored.get(`ClientCredentials:${token}`);
  return payload !== undefined && at_ms < payload.born_ms + payload.ttl_ms;
}

// --- the provider ---------------------------------------------------------------------------------------------------------
const client = {
  client_id: 'sidekey-tests',
  client_secret: `secret-${randomBytes(12).toString('hex')}`,
  grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
  response_types: ['code'],
  redirect_uris: ['https://client.sidekey.test/cb'],
};
const publicClient = {
  ...client, client_id: 'sidekey-public', client_secret: undefined, token_endpoint_auth_method: 'none', grant_types: ['authorization_code', 'refresh_token'],
};
const secondClient = { ...client, client_id: 'sidekey-second' };
const postClient = { ...client, client_id: 'sidekey-post', token_endpoint_auth_method: 'client_secret_post' };
secrets.add(client.client_secret);

const server = http.createServer();
await new Promise((done) => { server.listen(options.port ?? 0, '127.0.0.1', done); });
const issuer = `http://127.0.0.1:${server.address().port}`;
const Oidc = Provider ?? OldProvider;
const clock = { offset_ms: 0 };
const grants = makeGrants({ jose, issuer, clock, note, makeAccess, secrets, errors, settings: {} });
function accessTtl() {
  const ttl = options.access_ttl;
  options.access_ttl = options.then_ttl ?? ttl;
  options.then_ttl = undefined;
  return ttl;
}

const provider = new Oidc(issuer, {
  adapter: Adapter,
  clients: [client, secondClient, publicClient, postClient, ...signInClients, ...grants.clients],
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'api'],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none', 'tls_client_auth'],
  ttl: {
    AccessToken: accessTtl, ClientCredentials: accessTtl,
    RefreshToken: (ctx, token) => token.madeFor ?? options.refresh_ttl, Grant: 86400, IdToken: 60, Session: 60, Interaction: 60,
  },
  features: {
    clientCredentials: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true }, mTLS: grants.mTLS,
    ...signInFeatures(options.sign_in),
  },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

// The row of /proc/net/tcp for a connection on this machine, as words: [.., local, remote, state, .., inode at 9].  Not taken apart as a whole: it can have
// thousands of rows, and to be slow here holds up the API, which judges by the clock.
function tcpRow(local, remote) {
  const end = (port) => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} `;
  const table = fs.readFileSync('/proc/net/tcp', 'latin1');
  const at = table.indexOf(` ${end(local)}${end(remote)}`);
  return at < 0 ? undefined : table.slice(table.lastIndexOf('\n', at) + 1, table.indexOf('\n', at)).trim().split(/\s+/);
}

// The process that asks, by its end of the connection; undefined when it is gone already.  Only keepers ask, those that have asked before first.
const askers = new Set();
function asker({ localPort, remotePort }) {
  const row = remotePort && tcpRow(remotePort, localPort);
  if (!row || row[9] === '0') return undefined;
  const name = `socket:[${row[9]}]`;
  const tried = (look) => { try { return look(); } catch { return false; } }; // it has ended
  const has = (pid) => tried(() => fs.readdirSync(`/proc/${pid}/fd`).some((fd) => tried(() => fs.readlinkSync(`/proc/${pid}/fd/${fd}`) === name)));
  const isKeeper = (pid) => tried(() => /keeper/.test(fs.readFileSync(`/proc/${pid}/comm`, 'latin1') + fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1')));
  const pid = [...askers].find(has) ?? fs.readdirSync('/proc').find((entry) => /^\d+$/.test(entry) && isKeeper(entry) && has(entry));
  if (pid) askers.add(pid);
  return pid && Number(pid);
}

// Whoever asked has closed its end already: the answer that goes out now is lost.
const CLOSE_WAIT = '08';
function hungUp(socket) {
  if (socket.destroyed || !socket.remotePort) return true;
  const row = tcpRow(socket.localPort, socket.remotePort);
  return !row || row[3] === CLOSE_WAIT;
}

// Which request it was, and which refresh token it spent (never the token).
function spending(ctx) {
  const token = ctx.oidc.params?.refresh_token;
  return { n: ctx.req.n, ...(token ? { spent: createHash('sha256').update(token).digest('hex').slice(0, 16) } : {}) };
}

provider.on('grant.success', (ctx) => {
  const type = ctx.oidc.params.grant_type;
  if (type === 'refresh_token') counts.refreshes += 1;
  else counts[type] = (counts[type] ?? 0) + 1;
  note('grant.success', { type, grant: ctx.oidc.entities.Grant?.jti, ...spending(ctx) });
});
provider.on('grant.error', (ctx, error) => {
  counts.errors += 1;
  if (error.error_detail === 'refresh token already used') counts.reuse += 1;
  note('grant.error', { error: error.error, detail: error.error_detail, ...spending(ctx) });
});
provider.on('grant.revoked', (ctx, grant) => { counts.grants_revoked += 1; revokedGrants.push(grant); note('grant.revoked', { grant }); });
provider.on('server_error', (ctx, error) => note('server_error', { error: String(error) }));

grants.register(provider);

// A live access token for nobody in particular.  live: false: the API will not take it.
async function makeAccess(clientId, scope, { live = true } = {}) {
  const ttl_s = options.access_ttl;
  const token = await new provider.ClientCredentials({ client: await provider.Client.find(clientId), scope }).save();
  if (!live) stored.delete(`ClientCredentials:${token}`);
  return { token, ttl_s };
}

async function mint({ ttl, subject = 'someone', client: clientId = client.client_id } = {}) {
  const grant = new provider.Grant({ clientId, accountId: subject });
  grant.addOIDCScope(options.scope);
  await grant.save();
  const token = new provider.RefreshToken({
    client: await provider.Client.find(clientId), accountId: subject, grantId: grant.jti, gty: 'authorization_code',
    scope: options.scope, expiresWithSession: false, expiresIn: ttl,
  });
  return { refresh_token: await token.save(), grant: grant.jti };
}

// --- faults at the token endpoint ---------------------------------------------------------------------------------------------
// {delay_ms}                 wait, then answer as ever
// {kind: "drop"}             the token is rotated, the answer is lost
// {kind: "half"}             the token is rotated, the connection ends in the middle of the answer
// {kind: "half_early"}       as half, but before the rotation
// {kind: "half_json"}        half of the JSON in an answer that is complete for HTTP (before the rotation, as the next)
// {kind: "html"} {kind: "empty"} {kind: "refuse"} {kind: "status", status, retry_after?, body?, type?, latin1?}
function faulty(fault, req, res, next) {
  counts.faults += 1;
  note('fault', { n: req.n, ...fault });
  const answer = (status, type, body, headers = {}) => {
    req.resume();
    res.writeHead(status, { ...(type ? { 'content-type': type } : {}), 'content-length': Buffer.byteLength(body), ...headers });
    res.end(body);
  };
  switch (fault.kind) {
    case undefined: next(); break;
    case 'drop': res.end = () => { res.socket.destroy(); return res; }; next(); break;
    case 'half':
      res.end = (body) => {
        const bytes = Buffer.from(body ?? '');
        res.write(bytes.subarray(0, bytes.length >> 1), () => res.socket.destroy());
        return res;
      };
      next();
      break;
    case 'refuse': res.socket.destroy(); break;
    case 'half_early': res.writeHead(200, { 'content-length': 100 }); res.write('{"acc', () => res.socket.destroy()); break;
    case 'half_json': answer(200, 'application/json', '{"access_token": "half-an-answer", "expires_'); break;
    case 'html': answer(fault.status ?? 200, 'text/html', '<!doctype html><html><title>Just a moment...</title></html>'); break;
    case 'empty': answer(fault.status ?? 200, undefined, ''); break;
    case 'status':
      answer(fault.status, fault.type ?? 'application/json', Buffer.from(fault.body ?? '{"error":"temporarily_unavailable"}', fault.latin1 ? 'latin1' : 'utf8'),
        fault.retry_after === undefined ? {} : { 'retry-after': String(fault.retry_after) });
      break;
    default: answer(500, 'text/plain', `no such fault: ${fault.kind}`);
  }
}

// The response that the server gives, rotation and all, in another shape.
function reshape(name, req, res) {
  shaped.add(name);
  note('shape', { n: req.n, name });
  res.end = (body) => {
    if (res.statusCode === 200) res.socket.end(shapes[name].make(JSON.parse(body)));
    else { delete res.end; res.end(body); }
    return res;
  };
}

// Who asks, by the name in its Basic authorization.
function clientOf(req) {
  const basic = /^Basic (\S+)$/i.exec(req.headers.authorization ?? '')?.[1];
  return basic && Buffer.from(basic, 'base64').toString('latin1').split(':')[0];
}

const provide = provider.callback();
async function handle(req, res) {
  if (clock.offset_ms) res.setHeader('date', new Date(Date.now() + clock.offset_ms).toUTCString());
  if (!await grants.serve(req, res)) provide(req, res);
}
server.on('request', (req, res) => {
  const isToken = req.method === 'POST' && req.url === '/token';
  if (isToken) {
    counts.token_requests += 1;
    req.n = counts.token_requests;
    note('token_request', { n: req.n, client: clientOf(req), port: req.socket.remotePort, ...(options.watch_askers ? { pid: asker(req.socket) } : {}) });
    res.on('close', () => { if (!res.writableFinished) note('unheard', { n: req.n }); }); // nobody was there any more to take the answer
    // Closed with the answer unread, or before it came: the kernel answers by RST.  After a FIN that is seen in its table alone.
    req.socket.once('close', (reset) => { if (reset) note('unheard', { n: req.n }); });
    const [local, remote] = [req.socket.localPort, req.socket.remotePort];
    if (options.watch_askers) res.on('finish', () => { if (!tcpRow(local, remote)) note('unheard', { n: req.n }); });
    const { end } = res;
    if (options.watch_askers) res.end = (...answer) => { if (hungUp(req.socket)) note('unheard', { n: req.n }); return end.apply(res, answer); };
  }
  if (req.url.startsWith('/token/introspection')) counts.introspections += 1;
  const fault = isToken ? faults.shift() : undefined;
  const [, shape, always] = (isToken && /^(\w+)(\*?)$/.exec(req.headers['x-shape'] ?? '')) || [];
  if (shape && (always || !shaped.has(shape))) reshape(shape, req, res);
  if (!fault) handle(req, res);
  else setTimeout(() => faulty(fault, req, res, () => handle(req, res)), fault.delay_ms ?? 0);
});

// --- control -------------------------------------------------------------------------------------------------------------------
const api = options.pki ? await startApi({ isLive, judge, pki: options.pki, www: options.www }) : undefined;

let h2api; // made when it is first asked for

const commands = {
  'POST /h2/start': async () => { h2api ??= await startH2Api({ isLive, pki: options.pki }); h2api.clear(); return { port: h2api.port }; },
  'POST /h2/listen': async ({ mode }) => { await h2api.listen(mode); return {}; },
  'POST /h2/settings': async (changed) => { await h2api.settings(changed); return {}; },
  'POST /h2/goaway': () => { h2api.goaway(); return {}; },
  'POST /h2/release': () => ({ released: h2api.release() }),
  'GET /h2/counts': () => ({ ...h2api.counts(), open: h2api.open() }),
  'GET /h2/seen': () => h2api.seen(),
  'POST /live': ({ token }) => ({ live: isLive(token, Date.now()) }), // for APIs that are programs of their own
  'POST /mint': async (body) => {
    const made = await mint(body);
    if (body.ttl) stored.get(`RefreshToken:${made.refresh_token}`).ttl_ms = body.ttl * 1000;
    return made;
  },
  'GET /counts': () => ({ ...counts, ...(api ? api.counts() : {}) }),
  'POST /reset': () => { counts = zero(); faults.length = 0; shaped.clear(); events.length = 0; revokedGrants.length = 0; grants.reset(); judge.clear(); api?.clear(); return {}; },
  'GET /events': () => events,
  'GET /shapes': () => Object.entries(shapes).map(([name, { fate, why }]) => ({ name, fate, why })),
  'GET /revoked': () => revokedGrants,
  'GET /verdict': () => judge.verdict(),
  'POST /expect': (hosts) => judge.expect(hosts),
  'GET /secrets': () => [...secrets],
  'POST /revoke_access': ({ grant }) => {
    const n = revoke((key, payload) => /^(AccessToken|ClientCredentials):/.test(key) && (!grant || payload.grantId === grant));
    counts.access_revoked += n;
    note('access_revoked', { n });
    return { revoked: n };
  },
  'POST /revoke_grant': ({ grant }) => ({ revoked: revoke((key, payload) => payload.grantId === grant || key === `Grant:${grant}`) }),
  'POST /ttl': ({ access, then }) => { options.access_ttl = access; options.then_ttl = then ?? undefined; return { access }; },
  'POST /revoke_all': () => ({ revoked: revoke((key) => /^(RefreshToken|Grant|AccessToken):/.test(key)) }),
  'POST /deny': ({ user_code }) => { // the person at the other device says no
    const code = [...stored.values()].find((p) => p.userCode === user_code.replaceAll('-', ''));
    code.error = 'access_denied';
    return {};
  },
  'POST /watch_askers': ({ on }) => { options.watch_askers = on; return { on }; },
  'POST /faults': (body) => { faults.push(...[body].flat()); return { pending: faults.length }; },
  'POST /faults/clear': () => { faults.length = 0; return {}; },
  'GET /requests': () => api.requests(),
  'POST /requests/clear': () => { api.clear(); return {}; },
  ...grants.commands,
};

const control = http.createServer(async (req, res) => {
  let text = '';
  for await (const piece of req) text += piece;
  let status = 200;
  let answer;
  try {
    const run = commands[`${req.method} ${req.url}`];
    if (run) answer = await run(text ? JSON.parse(text) : {});
    else { status = 404; answer = { error: 'no such command', commands: Object.keys(commands) }; }
  } catch (error) { status = 500; answer = { error: String(error), stack: error.stack }; }
  const body = JSON.stringify(answer);
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  res.end(body);
});
await new Promise((done) => { control.listen(0, '127.0.0.1', done); });

console.log(JSON.stringify({
  issuer, token_url: `${issuer}/token`, control: `http://127.0.0.1:${control.address().port}`,
  api_port: api?.port, client_id: client.client_id, client_secret: client.client_secret,
}));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
