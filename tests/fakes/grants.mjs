// The grants that authserver.mjs adds to oidc-provider, and token endpoints of vendors that speak no OAuth: every assertion is really verified (jose).
//
//   jwt-bearer, token-exchange     at the provider's /token, for the client "sidekey-bearer"
//   POST /google/token             both, without any client: an Authorization header or a scope beside the assertion is refused
//   POST /google/impersonate       generateAccessToken: Bearer of /google/token -> {accessToken, expireTime}
//   POST /app/installations/42/access_tokens   GitHub: Bearer app JWT -> 201 {token, expires_at}
//   GET  /computeMetadata/v1/instance/service-accounts/default/token   Metadata-Flavor; the same token until it is near its end
// An assertion counts once (jti), its iat is not in the future, and it lives an hour at most (GitHub: 10 min).
import { generateKeyPairSync, randomUUID } from 'node:crypto';

export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCOUNT = 'robot@project.sidekey.test';
const APP = 'Iv1.sidekeytests';
const GOOGLE_SCOPE = 'https://api.sidekey.test/all';

// makeAccess(client_id, scope) -> {token, ttl_s}; note(what, detail); clock.offset_ms: the server's clock against the machine's
export function makeGrants({ jose, issuer, clock, note, makeAccess, secrets, errors, settings }) {
  const pair = (type, how) => generateKeyPairSync(type, how);
  const keys = { rsa: pair('rsa', { modulusLength: 2048 }), ec: pair('ec', { namedCurve: 'P-256' }), cluster: pair('ec', { namedCurve: 'P-256' }) };
  const pem = (key) => key.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const jwk = (key, kid) => ({ ...key.publicKey.export({ format: 'jwk' }), kid, use: 'sig' });
  const used = new Set();
  for (const key of [keys.rsa, keys.ec]) secrets.add(pem(key).split('\n')[2]);

  const now = () => new Date(Date.now() + clock.offset_ms);
  // The claims of a JWT that one of the keys has signed, or an exception that says what is wrong with it.
  async function verify(jwt, { key, audience, longest_s = 3600 }) {
    const by = key ?? (jose.decodeProtectedHeader(jwt).alg === 'ES256' ? keys.ec : keys.rsa);
    const { payload, protectedHeader } = await jose.jwtVerify(jwt, by.publicKey, { audience, currentDate: now() });
    if (payload.iat === undefined || payload.exp === undefined) throw new Error('iat and exp are needed');
    if (payload.iat > now() / 1000) throw new Error('iat is in the future');
    if (payload.exp - payload.iat > 3600 || payload.exp > now() / 1000 + longest_s) throw new Error('not a reasonable timeframe');
    if (payload.jti !== undefined) {
      if (used.has(payload.jti)) throw new Error('this assertion was used before');
      used.add(payload.jti);
    }
    note('assertion', { claims: payload, header: protectedHeader });
    return payload;
  }

  async function subject(params) {
    if (params.subject_token_type !== 'urn:ietf:params:oauth:token-type:jwt') throw new Error('subject_token_type');
    const claims = await jose.jwtVerify(params.subject_token, keys.cluster.publicKey, { audience: 'sidekey', currentDate: now() });
    note('exchange', { serial: claims.payload.serial, params: { ...params, subject_token: undefined } });
    return claims.payload;
  }

  // --- at the provider ---
  const handler = (check) => async (ctx, next) => {
    const { client, params } = ctx.oidc;
    let error;
    try { await check(params); } catch (e) { error = e; }
    if (error) throw new errors.InvalidGrant(String(error));
    const { token, ttl_s } = await makeAccess(client.clientId, params.scope);
    ctx.body = { access_token: token, expires_in: ttl_s, token_type: 'Bearer', scope: params.scope };
    await next?.(); // major 8 has one
  };
  function register(provider) {
    provider.registerGrantType(JWT_BEARER, handler(async ({ assertion }) => {
      const claims = await verify(assertion, { audience: `${issuer}/token` });
      if (!claims.sub || claims.iss !== 'sidekey-bearer') throw new Error('who is that?');
    }), ['assertion', 'scope']);
    provider.registerGrantType(TOKEN_EXCHANGE, handler(subject),
      ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'resource', 'scope']);
  }
  const clients = [
    { client_id: 'sidekey-bearer', token_endpoint_auth_method: 'none', grant_types: [JWT_BEARER, TOKEN_EXCHANGE], response_types: [], redirect_uris: [] },
    ...[['sidekey-rsa', keys.rsa, 'RS256'], ['sidekey-ec', keys.ec, 'ES256']].map(([client_id, key, alg]) => ({
      client_id, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: alg, jwks: { keys: [jwk(key, 'k1')] },
      grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
    })),
    { // RFC 8705: by certificate; it is in front of the server that TLS ends (x-client-dn), and its tokens are bound to the certificate
      client_id: 'sidekey-mtls', token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_subject_dn: 'CN=sidekey-mtls', tls_client_certificate_bound_access_tokens: true,
      grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
    },
  ];
  const mTLS = {
    enabled: true, tlsClientAuth: true, certificateBoundAccessTokens: true,
    getCertificate: (ctx) => ctx.get('x-client-cert') && decodeURIComponent(ctx.get('x-client-cert')),
    certificateAuthorized: (ctx) => ctx.get('x-client-dn') !== '',
    certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_subject_dn' && ctx.get('x-client-dn') === expected,
  };

  // --- vendors ---
  const stsTokens = new Set();
  let metadata;
  const endpoints = {
    'POST /google/token': async (req, body) => {
      const params = Object.fromEntries(new URLSearchParams(body));
      if (req.headers.authorization) return [400, { error: 'invalid_request', error_description: 'Authorization header' }];
      try {
        if (params.grant_type === JWT_BEARER) {
          const claims = await verify(params.assertion, { audience: `${issuer}/google/token` });
          if (params.scope || claims.scope !== GOOGLE_SCOPE || claims.iss !== ACCOUNT || claims.sub) throw new Error('claims');
        } else {
          await subject(params);
        }
      } catch (error) { return [400, { error: 'invalid_grant', error_description: String(error) }]; }
      const { token, ttl_s } = await makeAccess('sidekey-bearer', GOOGLE_SCOPE, { live: params.grant_type === JWT_BEARER });
      stsTokens.add(token);
      return [200, { access_token: token, expires_in: ttl_s, token_type: 'Bearer' }];
    },
    'POST /google/impersonate': async (req, body) => {
      const { scope, lifetime } = JSON.parse(body);
      note('impersonate', { scope, lifetime });
      if (settings.impersonate_status) return [settings.impersonate_status, { error: { code: 403, message: 'no', status: 'PERMISSION_DENIED' } }];
      if (!stsTokens.has((req.headers.authorization ?? '').replace('Bearer ', ''))) return [401, { error: { code: 401, status: 'UNAUTHENTICATED' } }];
      const { token, ttl_s } = await makeAccess('sidekey-bearer', scope.join(' '));
      return [200, { accessToken: token, expireTime: new Date(Date.now() + ttl_s * 1000).toISOString() }];
    },
    'POST /app/installations/42/access_tokens': async (req) => {
      const refuse = (message) => [401, { message, documentation_url: 'https://docs.github.com/rest', status: '401' }];
      if (req.headers['content-type'] !== 'application/json') return [415, { message: 'no' }];
      try {
        const claims = await verify((req.headers.authorization ?? '').replace('Bearer ', ''), { longest_s: 600 });
        if (claims.iss !== APP) return refuse('Integration not found');
      } catch (error) { return refuse(String(error)); }
      const { token, ttl_s } = await makeAccess('sidekey-bearer');
      return [201, { token, expires_at: new Date(Date.now() + ttl_s * 1000).toISOString(), permissions: { contents: 'read' } }];
    },
    'GET /computeMetadata/v1/instance/service-accounts/default/token': async (req) => {
      if (req.headers['metadata-flavor'] !== 'Google') return [403, { error: 'forbidden' }];
      const left = () => metadata.until_ms - Date.now();
      note('metadata');
      if (!metadata || left() < metadata.ttl_s * 1000 * 0.3) {
        metadata = await makeAccess('sidekey-bearer');
        metadata.until_ms = Date.now() + metadata.ttl_s * 1000;
      }
      return [200, { access_token: metadata.token, expires_in: Math.floor(left() / 1000), token_type: 'Bearer' }];
    },
  };
  // true: the request was for one of them.
  async function serve(req, res) {
    const run = endpoints[`${req.method} ${req.url}`];
    if (!run) return false;
    let text = '';
    for await (const piece of req) text += piece;
    const [status, members] = await run(req, text);
    const body = JSON.stringify(members);
    res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    res.end(body);
    return true;
  }

  const commands = {
    'GET /keys': () => ({
      rsa: pem(keys.rsa), ec: pem(keys.ec), app: APP, google_scope: GOOGLE_SCOPE,
      google: JSON.stringify({ type: 'service_account', client_email: ACCOUNT, private_key_id: 'gk1', private_key: pem(keys.rsa) }, null, 2),
    }),
    // A projected service-account token: every one has a serial number.
    'POST /subject': async ({ serial = randomUUID() }) => {
      const token = await new jose.SignJWT({ serial }).setProtectedHeader({ alg: 'ES256' }).setSubject('system:serviceaccount:default:app')
        .setAudience('sidekey').setIssuedAt().setExpirationTime('10m').sign(keys.cluster.privateKey);
      secrets.add(token);
      return { token };
    },
    'POST /clock': ({ offset_s }) => { clock.offset_ms = offset_s * 1000; return {}; },
    'POST /settings': (body) => Object.assign(settings, body),
    'POST /makeaccess': () => makeAccess('sidekey-bearer'),
  };
  return { clients, mTLS, register, serve, commands, reset: () => { clock.offset_ms = 0; metadata = undefined; delete settings.impersonate_status; } };
}
