// A person at a headless Chromium: node browser.mjs URL NAME PROFILE.  Opens the URL, fills in whatever form there is, and ends when a page says that it is done.
// Prints each page's first words.  `ws` is taken from $SIDEKEY_NODE, else ../../build/node.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [url, name, profile] = process.argv.slice(2);
const node = path.resolve(process.env.SIDEKEY_NODE ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '../../build/node'));
const { WebSocket } = await import(pathToFileURL(path.join(node, 'node_modules/ws/wrapper.mjs')));

const chromium = spawn('chromium', ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server', '--no-first-run',
  '--disable-background-networking', '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'], { stdio: ['ignore', 'ignore', 'pipe'] });
const endpoint = await new Promise((found, lost) => {
  let text = '';
  chromium.stderr.on('data', (piece) => { text += piece; const at = /listening on (ws:\S+)/.exec(text); if (at) found(at[1]); });
  chromium.on('exit', () => lost(new Error(`chromium ended: ${text}`)));
});
const pages = await (await fetch(`http://${new URL(endpoint).host}/json/list`)).json();
const socket = new WebSocket(pages.find((page) => page.type === 'page').webSocketDebuggerUrl);
await new Promise((open) => { socket.on('open', open); });
const waiting = new Map();
let count = 0;
socket.on('message', (text) => { const { id, result } = JSON.parse(text); waiting.get(id)?.(result); waiting.delete(id); });
const ask = (method, params) => new Promise((answer) => { count += 1; waiting.set(count, answer); socket.send(JSON.stringify({ id: count, method, params })); });

const fill = `(() => {
  const text = document.body?.innerText ?? '';
  if (text.includes('Return to the terminal')) return 'done';
  const form = document.forms[0];
  if (!form || document.readyState !== 'complete' || form.dataset.sent) return '';
  if (form.login) { form.login.value = ${JSON.stringify(name)}; form.password.value = 'any'; }
  form.dataset.sent = 'yes';
  form.submit();
  return text.slice(0, 40);
})()`;
await ask('Page.navigate', { url });
for (let page = ''; page !== 'done';) {
  await new Promise((over) => { setTimeout(over, 100); });
  page = (await ask('Runtime.evaluate', { expression: fill, returnByValue: true }))?.result?.value ?? '';
  if (page) console.log(page);
}
chromium.removeAllListeners('exit');
chromium.kill();
process.exit(0);
