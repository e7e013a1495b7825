// People who sign in at authserver.mjs (option sign_in): forms for name and consent, device codes, registration of clients, and a native public client.
const grant_types = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'];

export const signInClients = [{
  client_id: 'sidekey-native', application_type: 'native', token_endpoint_auth_method: 'none', grant_types, response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/there'],
}, {
  client_id: 'sidekey-without-refresh', application_type: 'native', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
}];

export function signInFeatures(on) {
  if (!on) return { devInteractions: { enabled: false } };
  return {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true, // RFC 8707: the resources that are MCP servers
      getResourceServerInfo: (ctx, resource) => ({ scope: 'tools', audience: resource, accessTokenFormat: 'opaque', accessTokenTTL: 3600 }),
    },
  };
}
