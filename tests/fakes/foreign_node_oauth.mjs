// @node-oauth/oauth2-server as an authorization server (see foreign_serve.mjs):
//   node foreign_node_oauth.mjs '{"client_id": "…", "client_secret": "…"}'
import { randomBytes } from 'node:crypto';
import { Tokens, options, require, serve } from './foreign_serve.mjs';

const OAuth2Server = require('@node-oauth/oauth2-server');
const client = { id: options.client_id, grants: ['refresh_token'] };
const tokens = new Tokens();

const server = new OAuth2Server({
  accessTokenLifetime: 3600,
  model: {
    getClient: (id, secret) => (id === client.id && secret === options.client_secret ? client : undefined),
    getRefreshToken: (refreshToken) => tokens.find(refreshToken),
    revokeToken: ({ refreshToken }) => tokens.spend(refreshToken),
    saveToken: (token, ofClient, user) => {
      const record = { ...token, client: ofClient, user, grant: user.grant };
      tokens.add(token.refreshToken, record);
      return record;
    },
  },
});

async function token(request) {
  const response = new OAuth2Server.Response({ headers: {} });
  await server.token(new OAuth2Server.Request(request), response).catch(() => {}); // the response says it
  return response;
}

function mint() {
  const refreshToken = randomBytes(20).toString('hex');
  const grant = randomBytes(4).toString('hex');
  tokens.add(refreshToken, { refreshToken, refreshTokenExpiresAt: new Date(Date.now() + 86_400_000), scope: ['api'], client, user: { grant }, grant });
  return refreshToken;
}

await serve({ token, mint, tokens });
