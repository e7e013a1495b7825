// Token responses as broken servers, proxies and frameworks send them: each makes of a good response, whose refresh token has been rotated, the bytes on the wire.
//
//   fate  used     both tokens are taken, and nobody notices
//         refresh  the refresh token is kept, and the reason is told
//         none     nothing can be taken: it is kept sealed, its refresh token does not go out again, and the reason is told
//   why   what the reason says
import zlib from 'node:zlib';

const bytes = (...parts) => Buffer.concat(parts.map((part) => Buffer.isBuffer(part) ? part : Buffer.from(part)));
const text = (json) => JSON.stringify(json);
const latin1 = (string) => Buffer.from(string, 'latin1');
const inside = (json, first, last = '') => bytes(`{${first}`, text(json).slice(1, -1), `${last}}`);

function http(body, { status = '200 OK', headers = {}, length = Buffer.byteLength(body) } = {}) {
  const fields = { 'content-type': 'application/json', ...(length === null ? {} : { 'content-length': length }), connection: 'close', ...headers };
  return bytes(`HTTP/1.1 ${status}\r\n`, ...Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`), '\r\n', body);
}
const chunked = (body) => http(body, { length: null, headers: { 'transfer-encoding': 'chunked' } });
const utf16 = (string) => bytes(Buffer.from([0xff, 0xfe]), Buffer.from(string, 'utf16le'));
const chunk = (body) => bytes(`${Buffer.byteLength(body).toString(16)}\r\n`, body, '\r\n');

const used = {
  plain: (json) => http(text(json)),
  comment_behind: (json) => http(`${text(json)}<!-- 0.02 s -->`),
  words_behind: (json) => http(`${text(json)}\nOK`),
  notice_before: (json) => http(`<br />\n<b>Notice</b>:  Undefined index: scope in <b>/srv/token.php</b> on line <b>3</b><br />\n${text(json)}`),
  page_around: (json) => http(`<html><body><pre>${text(json)}</pre></body></html>`, { headers: { 'content-type': 'text/html' } }),
  bom: (json) => http(`\ufeff${text(json)}`),
  xssi: (json) => http(`)]}',\n${text(json)}`),
  jsonp: (json) => http(`callback(${text(json)});`),
  nuls: (json) => http(`${text(json)}\0\0\0`),
  utf16: (json) => http(utf16(text(json))),
  latin1: (json) => http(bytes(latin1('{"name":"Ren\xe9",'), text(json).slice(1))),
  nul_escape: (json) => http(inside(json, '"name":"a\\u0000b",')),
  surrogate: (json) => http(inside(json, '"name":"\\ud800",')),
  huge_number: (json) => http(inside(json, '"id":12345678901234567890,')),
  u64: (json) => http(inside(json, '"id":18446744073709551615,')),
  infinite: (json) => http(inside(json, '"id":1e999,')),
  huge_life: (json) => http(text({ ...json, expires_in: 'x' }).replace('"x"', '99999999999999999999999')),
  life_as_text: (json) => http(text({ ...json, expires_in: String(json.expires_in) })),
  deep: (json) => http(inside(json, `"x":${'['.repeat(17)}${']'.repeat(17)},`)),
  very_deep: (json) => http(inside(json, `"x":${'['.repeat(50000)}${']'.repeat(50000)},`)),
  large_before: (json) => http(inside(json, `"picture":"${'x'.repeat(1536 * 1024)}",`)),
  large_behind: (json) => http(inside(json, '', `,"picture":"${'x'.repeat(1536 * 1024)}"`)),
  over_the_cap: (json) => http(inside(json, '', `,"picture":"${'x'.repeat(5 * 1024 * 1024)}"`)),
  twice_the_same: (json) => http(inside(json, `"refresh_token":"${json.refresh_token}",`)),
  gzip: (json) => http(zlib.gzipSync(text(json)), { headers: { 'content-encoding': 'gzip' } }),
  gzip_unsaid: (json) => http(zlib.gzipSync(text(json))),
  deflate: (json) => http(zlib.deflateSync(text(json)), { headers: { 'content-encoding': 'deflate' } }),
  deflate_raw: (json) => http(zlib.deflateRawSync(text(json)), { headers: { 'content-encoding': 'deflate' } }),
  deflate_unsaid: (json) => http(zlib.deflateSync(text(json))),
  data: (json) => http(text({ code: 0, data: json })),
  result: (json) => http(text({ result: json })),
  list_of_one: (json) => http(text([json])),
  camel: ({ access_token: accessToken, refresh_token: refreshToken, expires_in: expiresIn }) => http(text({ accessToken, refreshToken, expiresIn })),
  form: (json) => http(new URLSearchParams(json).toString(), { headers: { 'content-type': 'text/plain; charset=x-unknown' } }),
  form_latin1: (json) => http(`name=Ren%e9&${new URLSearchParams(json)}`),
  wrong_type: (json) => http(text(json), { headers: { 'content-type': 'application/octet-stream' } }),
  created: (json) => http(text(json), { status: '201 Created' }),
  accepted: (json) => http(text(json), { status: '202 Accepted' }),
  transformed: (json) => http(text(json), { status: '203 Non-Authoritative Information' }),
  partial: (json) => http(text(json), { status: '206 Partial Content', headers: { 'content-range': 'bytes 0-9/10' } }),
  no_length: (json) => http(text(json), { length: null }),
  length_too_long: (json) => http(text(json), { length: text(json).length + 100 }),
  length_too_short: (json) => http(text(json), { length: 20 }),
  chunked_in_name_only: (json) => chunked(text(json)),
  chunk_too_short: (json) => chunked(`10\r\n${text(json)}\r\n0\r\n\r\n`),
  chunk_too_long: (json) => chunked(`ffff\r\n${text(json)}`),
  no_last_chunk: (json) => chunked(chunk(text(json))),
  cut_behind_the_tokens: ({ access_token, refresh_token, ...rest }) => {
    const body = text({ access_token, refresh_token, ...rest });
    return bytes(http(body, { length: body.length }).subarray(0, -10));
  },
  no_brace: (json) => http(`${text(json).slice(0, -1)} `),
};
const refresh = {
  large_access: [(json) => http(text({ ...json, access_token: 'x'.repeat(20 * 1024) })), 'longer than 16 KiB'],
  blank_in_access: [(json) => http(text({ ...json, access_token: 'a b' })), 'no header may carry'],
  letter_in_access: [(json) => http(text({ ...json, access_token: 'caf\u00e9' })), 'no header may carry'],
  control_in_access: [(json) => http(text({ ...json, access_token: 'a\u0000' })), 'no header may carry'],
  access_twice: [(json) => http(inside(json, '"access_token":"other",')), 'no header may carry'],
  no_access: [({ refresh_token }) => http(text({ refresh_token, user: 'Mallory' })), 'members: refresh_token, user'],
  error_beside: [(json) => http(text({ ...json, error: 'server_error' })), 'error server_error'],
};
const none = {
  empty: [() => http(''), 'the response is empty'],
  no_content: [() => bytes('HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n'), 'the response is empty'],
  page: [() => http('<html>Welcome</html>'), 'a web page'],
  other_names: [({ access_token: at, refresh_token: rt, expires_in: ttl }) => http(text({ payload: { at, rt, ttl } })), 'members: payload'],
  two_objects: [(json) => http(`${text(json)}\n${text({ event: 'done' })}`), 'neither one JSON object nor a form'],
  quote_without_partner: [(json) => http(inside(json, '"name":"Bob "the" Builder",')), 'neither one JSON object nor a form'],
  half_of_the_json: [({ access_token }) => http(`{"access_token":"${access_token.slice(0, 5)}`), 'neither one JSON object nor a form'],
  refresh_twice: [({ refresh_token }) => http(`{"refresh_token":"a","refresh_token":"${refresh_token}"}`), 'no access_token'],
};

// {name: {make, fate, why}}
export const shapes = Object.fromEntries([
  ...Object.entries(used).map(([name, make]) => [name, { make, fate: 'used', why: '' }]),
  ...Object.entries(refresh).map(([name, [make, why]]) => [name, { make, fate: 'refresh', why }]),
  ...Object.entries(none).map(([name, [make, why]]) => [name, { make, fate: 'none', why }]),
]);
