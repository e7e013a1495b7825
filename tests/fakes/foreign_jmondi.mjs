// @jmondi/oauth2-server as an authorization server (see foreign_serve.mjs); its refresh tokens are JWTs:
//   node foreign_jmondi.mjs '{"client_id": "…", "client_secret": "…"}'
import { randomBytes, webcrypto } from 'node:crypto';
import { Tokens, options, require, serve } from './foreign_serve.mjs';

globalThis.crypto ??= webcrypto; // Node 18
const { AuthorizationServer, DateInterval } = require('@jmondi/oauth2-server');
const { handleVanillaError } = require('@jmondi/oauth2-server/vanilla');
const scope = { name: 'api' };
const client = { id: options.client_id, name: 'sidekey', secret: options.client_secret, redirectUris: [], allowedGrants: ['refresh_token'], scopes: [scope] };
const tokens = new Tokens();
const later = (seconds) => new Date(Date.now() + seconds * 1000);
const name = () => randomBytes(20).toString('hex');

const repository = {
  issueToken: (ofClient, scopes, user) => ({ accessToken: name(), accessTokenExpiresAt: later(3600), client: ofClient, user, scopes }),
  issueRefreshToken: (token) => {
    Object.assign(token, { refreshToken: name(), refreshTokenExpiresAt: later(86_400), grant: token.user.id });
    tokens.add(token.refreshToken, token);
    return token;
  },
  persist: () => {},
  revoke: ({ refreshToken }) => { tokens.spend(refreshToken); },
  isRefreshTokenRevoked: ({ refreshToken }) => !tokens.find(refreshToken),
  getByRefreshToken: (refreshToken) => tokens.byRefresh.get(refreshToken),
};
const clients = { getByIdentifier: (id) => (id === client.id ? client : undefined), isClientValid: (grant, ofClient, secret) => secret === ofClient.secret };
const scopes = { getAllByIdentifiers: () => [scope], finalize: (found) => found };
const server = new AuthorizationServer(clients, repository, scopes, randomBytes(32).toString('hex'));
server.enableGrantTypes(['refresh_token', new DateInterval('1h')]);

const token = (request) => server.respondToAccessTokenRequest(request).catch(handleVanillaError);

async function mint() {
  const grant = server.enabledGrantTypes.refresh_token;
  const made = repository.issueRefreshToken(repository.issueToken(client, [scope], { id: name() }));
  return (await grant.makeBearerTokenResponse(client, made, [scope])).body.refresh_token;
}

// A JWT names its token inside.
tokens.end = (jwt) => {
  const named = JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url')).refresh_token_id;
  tokens.over.add(tokens.byRefresh.get(named).grant);
};
await serve({ token, mint, tokens });
