// The same as peer.py, by @grpc/grpc-js: `node peer.mjs serve KEY CERT CONTROL`, `node peer.mjs call HOST`.
import fs from 'node:fs';
import { createRequire } from 'node:module';

const grpc = createRequire(`${process.env.SIDEKEY_NODE}/node_modules/`)('@grpc/grpc-js');
const TIME_MS = 60000;
const asIs = { requestSerialize: (b) => b, requestDeserialize: (b) => b, responseSerialize: (b) => b, responseDeserialize: (b) => b };
const method = (name, requestStream, responseStream) => ({ path: `/t.T/${name}`, requestStream, responseStream, ...asIs });
const service = { Unary: method('Unary', false, false), Collect: method('Collect', true, false), Spread: method('Spread', false, true), Talk: method('Talk', true, true) };

async function collect(stream) {
  const all = [];
  for await (const message of stream) all.push(message);
  return all;
}

function serve(key, cert, control) {
  const refuse = async (call) => {
    const token = String(call.metadata.get('authorization')[0] ?? '').replace('Bearer ', '');
    const answer = await fetch(`${control}/live`, { method: 'POST', body: JSON.stringify({ token }) });
    return (await answer.json()).live ? null : { code: grpc.status.UNAUTHENTICATED, details: 'this token is not good' };
  };
  const server = new grpc.Server();
  server.addService(service, {
    Unary: async (call, done) => done(await refuse(call), call.request),
    Collect: async (call, done) => { const [refused, all] = await Promise.all([refuse(call), collect(call)]); done(refused, Buffer.concat(all)); },
    Spread: async (call) => {
      const refused = await refuse(call);
      if (refused) { call.emit('error', refused); return; }
      for (const byte of call.request) call.write(Buffer.from([byte]));
      call.end();
    },
    Talk: (call) => { // who begins to listen late misses the end
      let work = refuse(call).then((refused) => { if (refused) call.emit('error', refused); return refused; });
      call.on('data', (message) => { work = work.then((refused) => { if (!refused) call.write(message); return refused; }); });
      call.on('end', () => work.then((refused) => { if (!refused) call.end(); }));
    },
  });
  const pair = [{ private_key: fs.readFileSync(key), cert_chain: fs.readFileSync(cert) }];
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createSsl(null, pair), (error, port) => {
    if (error) throw error;
    console.log(JSON.stringify({ port }));
  });
}

async function call(host) {
  const client = new grpc.Client(`${host}:443`, grpc.credentials.createSsl());
  const told = new grpc.Metadata();
  told.set('authorization', 'Bearer placeholder');
  const pieces = [Buffer.from('one'), Buffer.from('two'), Buffer.from('three'.repeat(3000))];
  const same = (as, bs) => as.length === bs.length && as.every((a, i) => a.equals(bs[i]));
  const options = () => ({ deadline: Date.now() + TIME_MS });
  const args = (name) => [service[name].path, service[name].requestSerialize, service[name].responseDeserialize];
  const whenDone = (begin) => new Promise((resolve, reject) => { begin((error, value) => (error ? reject(error) : resolve(value))); });
  const kinds = [
    async () => (await whenDone((done) => client.makeUnaryRequest(...args('Unary'), Buffer.from('hello'), told, options(), done))).equals(Buffer.from('hello')),
    async () => (await whenDone((done) => {
      const stream = client.makeClientStreamRequest(...args('Collect'), told, options(), done);
      for (const piece of pieces) stream.write(piece);
      stream.end();
    })).equals(Buffer.concat(pieces)),
    async () => Buffer.concat(await collect(client.makeServerStreamRequest(...args('Spread'), Buffer.from('hello'), told, options()))).equals(Buffer.from('hello')),
    async () => {
      const stream = client.makeBidiStreamRequest(...args('Talk'), told, options());
      for (const piece of pieces) stream.write(piece);
      stream.end();
      return same(await collect(stream), pieces);
    },
  ];
  const counts = {};
  let over = false;
  let total = 0;
  process.stdin.on('end', () => { over = true; });
  process.stdin.resume();
  await Promise.all(kinds.map(async (kind) => {
    while (!over) {
      const word = await kind().then((good) => (good ? 'OK' : 'WRONG'), (error) => `${grpc.status[error.code]} ${error.details}`);
      counts[word] = (counts[word] ?? 0) + 1;
      total += 1;
      if (total % 20 === 0) console.log('calls', total);
    }
  }));
  console.log(JSON.stringify(counts));
  client.close();
}

const [what, ...rest] = process.argv.slice(2);
await { serve, call }[what](...rest);
