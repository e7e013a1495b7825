// How an authorization server of others, in this process, is asked by a test: plain http on loopback, JSON control beside the token endpoint.
//
//   serve({ token, mint, tokens })   prints {"url", "token_url", "ends"} when ready; ends when its stdin ends.  ends: a token that comes twice ends its grant
//
// POST /token                the server's own: token(request) -> {status, headers, body}; request: {method, headers, query, body: the form's members}
// POST /mint                 a refresh token of a new grant -> {refresh_token}
// POST /end {refresh_token}  the grant of that token is over
// POST /counts               {rotations, reuse}
// The packages are taken from $SIDEKEY_NODE (a folder with node_modules), else ../../build/node.
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
export const require = createRequire(path.join(path.resolve(process.env.SIDEKEY_NODE ?? path.join(here, '../../build/node')), 'node_modules/x.js'));
export const options = JSON.parse(process.argv[2]);

// What each server leaves to whoever uses it: the tokens, by name, and their grants.  A token that comes again after it was spent ends its grant.
export class Tokens {
  byRefresh = new Map();
  spent = new Set();
  over = new Set();
  counts = { rotations: 0, reuse: 0 };

  add(refreshToken, record) { this.byRefresh.set(refreshToken, record); }

  // The record of a live token, else undefined.
  find(refreshToken) {
    const record = this.byRefresh.get(refreshToken);
    if (record && this.spent.has(refreshToken)) {
      this.counts.reuse += 1;
      this.over.add(record.grant);
    }
    return record && !this.over.has(record.grant) && !this.spent.has(refreshToken) ? record : undefined;
  }

  // false: it was not there, or spent already.
  spend(refreshToken) {
    if (!this.find(refreshToken)) return false;
    this.spent.add(refreshToken);
    this.counts.rotations += 1;
    return true;
  }

  end(refreshToken) { this.over.add(this.byRefresh.get(refreshToken).grant); }
}

async function read(req) {
  const parts = [];
  for await (const part of req) parts.push(part);
  return Buffer.concat(parts).toString();
}

export async function serve({ token, mint, tokens }) {
  const ways = {
    '/mint': async () => ({ refresh_token: await mint() }),
    '/end': async ({ refresh_token: which }) => { tokens.end(which); return {}; },
    '/counts': async () => tokens.counts,
  };
  const server = http.createServer(async (req, res) => {
    const url = new URL(req.url, 'http://localhost');
    const text = await read(req);
    let answer;
    if (url.pathname === '/token') {
      answer = await token({ method: req.method, headers: req.headers, query: Object.fromEntries(url.searchParams), body: Object.fromEntries(new URLSearchParams(text)) });
    } else {
      answer = { status: 200, headers: {}, body: await ways[url.pathname](JSON.parse(text || '{}')) };
    }
    res.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
    res.end(JSON.stringify(answer.body));
  });
  await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
  const url = `http://127.0.0.1:${server.address().port}`;
  console.log(JSON.stringify({ url, token_url: `${url}/token`, ends: true }));
  process.stdin.on('end', () => process.exit(0)).resume();
}
