// Token responses as broken servers, proxies and frameworks send them: each makes of a good response, whose refresh token has been rotated, the bytes on the wire.
//
//   fate  used     both tokens are taken, and nobody notices
//         access   the access token is taken; its refresh token is lost: the old one does not go out again, and the reason is told
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
  another_behind: (json) => bytes(http(text(json)), http(text({ error: 'server_error' }))),
  no_last_chunk: (json) => chunked(chunk(text(json))),
  cut_behind_the_tokens: ({ access_token, refresh_token, ...rest }) => {
    const body = text({ access_token, refresh_token, ...rest });
    return bytes(http(body, { length: body.length }).subarray(0, -10));
  },
  no_brace: (json) => http(`${text(json).slice(0, -1)} `),
  notice_behind: (json) => http(`${text(json)}<br />\n<b>Warning</b>:  Cannot modify header information in <b>/srv/x.php</b> on line <b>9</b>{`),
  script_behind: (json) => http(`${text(json)}\n<script>if (a) { b(); }</script>`),
  trailing_comma: (json) => http(inside(json, '', ',')),
  gzip_twice: (json) => http(zlib.gzipSync(zlib.gzipSync(text(json)))),
  gzip_chunked: (json) => chunked(bytes(chunk(zlib.gzipSync(text(json))), '0\r\n\r\n')),
  gzip_cut: (json) => http(zlib.gzipSync(text(json)).subarray(0, -8), { headers: { 'content-encoding': 'gzip' } }),
  gzip_garbage: (json) => http(bytes(zlib.gzipSync(text(json)), 'garbage behind')),
  gzip_members: (json) => { const t = text(json); return http(bytes(zlib.gzipSync(t.slice(0, 40)), zlib.gzipSync(t.slice(40)))); },
  gzip_says_deflate: (json) => http(zlib.gzipSync(text(json)), { headers: { 'content-encoding': 'deflate' } }),
  plain_says_gzip: (json) => http(text(json), { headers: { 'content-encoding': 'gzip' } }),
  plain_says_br: (json) => http(text(json), { headers: { 'content-encoding': 'br' } }),
  says_gzip_transfer: (json) => http(zlib.gzipSync(text(json)), { length: null, headers: { 'transfer-encoding': 'gzip' } }),
  identity_transfer: (json) => http(text(json), { headers: { 'transfer-encoding': 'identity' } }),
  odd_transfer: (json) => http(text(json), { length: null, headers: { 'transfer-encoding': 'binary' } }),
  utf16be: (json) => http(bytes(Buffer.from([0xfe, 0xff]), Buffer.from(text(json), 'utf16le').swap16())),
  utf16_bare: (json) => http(Buffer.from(text(json), 'utf16le')),
  utf8_bad_key: (json) => http(bytes(latin1('{"pr\xe9nom":"x",'), text(json).slice(1))),
  overlong: (json) => http(bytes('{"a":"', Buffer.from([0xc0, 0x80]), '",', text(json).slice(1))),
  control: (json) => http(bytes('{"a":"x\x01\x02\ty\n",', text(json).slice(1))),
  bad_escape: (json) => http(bytes('{"a":"C:\\windows\\x41",', text(json).slice(1))),
  nan: (json) => http(bytes('{"a":NaN,"b":-Infinity,"c":undefined,"d":True,"e":None,"f":+1,"g":.5,"h":0x1f,"i":01,', text(json).slice(1))),
  unquoted_other: (json) => http(inside(json, '', ',"a":hello')),
  member_twice: (json) => http(inside(json, '"scope":"a","scope":"b",')),
  life_twice: (json) => http(inside(json, '"expires_in":1,')),
  life_null: (json) => http(text({ ...json, expires_in: null })),
  life_empty: (json) => http(text({ ...json, expires_in: '' })),
  life_words: (json) => http(text({ ...json, expires_in: '3600 seconds' })),
  life_negative: (json) => http(text({ ...json, expires_in: -1 })),
  life_zero: (json) => http(text({ ...json, expires_in: 0 })),
  error_null: (json) => http(text({ ...json, error: null })),
  error_empty: (json) => http(text({ ...json, error: '', error_description: '' })),
  error_false: (json) => http(text({ ...json, error: false })),
  pascal: ({ access_token: AccessToken, refresh_token: RefreshToken, expires_in: ExpiresIn }) => http(text({ AccessToken, RefreshToken, ExpiresIn })),
  kebab: (json) => http(text({ 'access-token': json.access_token, 'refresh-token': json.refresh_token, 'expires-in': json.expires_in })),
  upper: (json) => http(text({ ACCESS_TOKEN: json.access_token, REFRESH_TOKEN: json.refresh_token, EXPIRES_IN: json.expires_in })),
  half_camel: (json) => http(text({ access_token: json.access_token, refreshToken: json.refresh_token, expires_in: 3600 })),
  half_pascal: (json) => http(text({ access_token: json.access_token, RefreshToken: json.refresh_token, expires_in: 3600 })),
  half_flat: (json) => http(text({ accesstoken: json.access_token, refreshtoken: json.refresh_token, expiresin: 3600 })),
  data_camel: ({ access_token: accessToken, refresh_token: refreshToken }) => http(text({ success: true, data: { accessToken, refreshToken } })),
  data_list: (json) => http(text({ data: [json] })),
  data_and_error_null: (json) => http(text({ error: null, data: json })),
  data_and_error_false: (json) => http(text({ error: false, message: 'ok', data: json })),
  data_and_errors: (json) => http(text({ errors: [], data: json })),
  status_299: (json) => http(text(json), { status: '299 Odd' }),
  status_205: (json) => http(text(json), { status: '205 Reset Content' }),
  early_hints: (json) => bytes('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n', http(text(json))),
  continued: (json) => bytes('HTTP/1.1 100 Continue\r\n\r\n', http(text(json))),
  no_head: (json) => bytes(text(json)),
  blank_lines_before: (json) => bytes('\r\n\r\n', http(text(json))),
  another_word_for_http: (json) => bytes('ICY 200 OK\r\nconnection: close\r\n\r\n', text(json)),
  http10: (json) => bytes('HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n', text(json)),
  lf_only: (json) => bytes(`HTTP/1.1 200 OK\nconnection: close\ncontent-length: ${text(json).length}\n\n`, text(json)),
  folded: (json) => http(text(json), { headers: { 'x-a': 'b\r\n c' } }),
  lengths_twice: (json) => http(text(json), { headers: { 'Content-Length': '5' } }),
  length_huge: (json) => http(text(json), { length: '99999999999999999999999' }),
  length_list: (json) => http(text(json), { length: `${text(json).length}, ${text(json).length}` }),
  many_fields: (json) => http(text(json), { headers: Object.fromEntries(Array.from({ length: 6000 }, (_, i) => [`x-${i}`, 'x'])) }),
  bad_trailers: (json) => chunked(bytes(chunk(text(json)), '0\r\nHTTP/1.1 500 x\r\n')),
  chunks_of_one: (json) => chunked(bytes(...[...text(json)].map(chunk), '0\r\n\r\n')),
  chunk_extension: (json) => chunked(bytes(`${text(json).length.toString(16)};a="b"\r\n`, text(json), '\r\n0\r\n\r\n')),
  chunk_lf: (json) => chunked(bytes(`${text(json).length.toString(16)}\n`, text(json), '\n0\n\n')),
  both_framings: (json) => http(bytes(chunk(text(json)), '0\r\n\r\n'), { headers: { 'transfer-encoding': 'chunked' }, length: 5 }),
  form_json: (json) => http(new URLSearchParams(json).toString(), { headers: { 'content-type': 'application/json' } }),
  form_question: (json) => http(`?${new URLSearchParams(json)}`),
  form_blanks: (json) => http(` \t${new URLSearchParams(json)} \t\r\n`),
  form_amp: (json) => http(`&${new URLSearchParams(json)}&`),
  form_semicolons: (json) => http(new URLSearchParams(json).toString().replaceAll('&', '&amp;')),
  fault_500: (json) => http(text(json), { status: '500 Internal Server Error' }),
  fault_502: (json) => http(text(json), { status: '502 Bad Gateway' }),
  fault_400: (json) => http(text(json), { status: '400 Bad Request' }),
  moved: (json) => http(text(json), { status: '302 Found', headers: { location: 'https://other.test/' } }),
};
const refresh = {
  large_access: [(json) => http(text({ ...json, access_token: 'x'.repeat(20 * 1024) })), 'longer than 16 KiB'],
  blank_in_access: [(json) => http(text({ ...json, access_token: 'a b' })), 'not allowed in a header'],
  letter_in_access: [(json) => http(text({ ...json, access_token: 'caf\u00e9' })), 'not allowed in a header'],
  control_in_access: [(json) => http(text({ ...json, access_token: 'a\u0000' })), 'not allowed in a header'],
  access_twice: [(json) => http(inside(json, '"access_token":"other",')), 'not allowed in a header'],
  no_access: [({ refresh_token }) => http(text({ refresh_token, user: 'Mallory' })), 'members: refresh_token, user'],
  error_beside: [(json) => http(text({ ...json, error: 'server_error' })), 'error server_error'],
};
const access = {
  split: [({ access_token, refresh_token }) => http(text({ access_token, data: { refresh_token } })), 'the response has a refresh token in an unexpected place'],
  refresh_object: [({ access_token, refresh_token: token }) => http(text({ access_token, refresh_token: { token } })), 'the new refresh token cannot be used'],
};
const none = {
  empty: [() => http(''), 'the response is empty or unreadable'],
  no_content: [() => bytes('HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n'), 'the response is empty or unreadable'],
  page: [() => http('<html>Welcome</html>'), 'a web page'],
  other_names: [({ access_token: at, refresh_token: rt, expires_in: ttl }) => http(text({ payload: { at, rt, ttl } })), 'members: payload'],
  two_objects: [(json) => http(`${text(json)}\n${text({ event: 'done' })}`), 'neither one JSON object nor a form'],
  quote_without_partner: [(json) => http(inside(json, '"name":"Bob "the" Builder",')), 'neither one JSON object nor a form'],
  half_of_the_json: [({ access_token }) => http(`{"access_token":"${access_token.slice(0, 5)}`), 'neither one JSON object nor a form'],
  refresh_twice: [({ refresh_token }) => http(`{"refresh_token":"a","refresh_token":"${refresh_token}"}`), 'no access_token'],
  length_word: [(json) => http(text(json), { length: 'abc' }), 'the response is empty or unreadable'],
  length_negative: [(json) => http(text(json), { length: '-1' }), 'the response is empty or unreadable'],
  length_zero: [(json) => http(text(json), { length: 0 }), 'the response is empty or unreadable'],
  field_without_colon: [(json) => bytes('HTTP/1.1 200 OK\r\nbroken field\r\nconnection: close\r\n\r\n', text(json)), 'the response is empty or unreadable'],
  field_with_nul: [(json) => bytes('HTTP/1.1 200 OK\r\nx-a: b\0c\r\nconnection: close\r\n\r\n', text(json)), 'the response is empty or unreadable'],
  version_1_2: [(json) => bytes('HTTP/1.2 200 OK\r\nconnection: close\r\n\r\n', text(json)), 'the response is empty or unreadable'],
  status_of_four_digits: [(json) => bytes('HTTP/1.1 2000 OK\r\nconnection: close\r\n\r\n', text(json)), 'the response is empty or unreadable'],
  large_field: [(json) => http(text(json), { headers: { 'set-cookie': 'x'.repeat(120 * 1024) } }), 'the response is empty or unreadable'],
  large_head: [(json) => http(text(json), { headers: Object.fromEntries([...Array(40).keys()].map((i) => [`x-${i}`, 'x'.repeat(10240)])) }), 'the response is empty or unreadable'],
  form_lines: [(json) => http(Object.entries(json).map(([k, v]) => `${k}=${v}`).join('\n')), 'not allowed in a header'],
};

// {name: {make, fate, why}}
export const shapes = Object.fromEntries([
  ...Object.entries(used).map(([name, make]) => [name, { make, fate: 'used', why: '' }]),
  ...Object.entries(refresh).map(([name, [make, why]]) => [name, { make, fate: 'refresh', why }]),
  ...Object.entries(access).map(([name, [make, why]]) => [name, { make, fate: 'access', why }]),
  ...Object.entries(none).map(([name, [make, why]]) => [name, { make, fate: 'none', why }]),
]);
