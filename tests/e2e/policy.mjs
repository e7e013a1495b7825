// policy.mjs POLICY.yaml PODS.json: what a MutatingAdmissionPolicy makes of each pod, as the API server does it: match constraints and conditions, then each
// mutation on the result of the one before.  PODS.json is {name: pod}; prints {name: {pod} | {unmatched: true} | {refused: reason}}.
// CEL is evaluated by a library.  Its literals of typed objects (Object.spec{…}) and the API server's list functions are added here.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const require = createRequire(path.join(path.resolve(process.env.SIDEKEY_NODE), 'package.json'));
const { Environment } = await import(require.resolve('@marcbachmann/cel-js'));
const yaml = (await import(require.resolve('js-yaml'))).default;

const cel = new Environment({ unlistedVariablesAreDyn: true, homogeneousAggregateLiterals: false });
cel.registerFunction('list.flatten(): list', (list) => list.flat());
cel.registerFunction('dyn.range(int): list', (_, count) => Array.from({ length: Number(count) }, (_unused, i) => BigInt(i)));

// The library's own has() takes no index on the way to the field.
cel.registerFunction('has_field(dyn, string): bool', (at, name) => at[name] !== undefined);
const fields = (text) => text.replace(/\bhas\(([\w.[\]]+)\.(\w+)\)/g, 'has_field($1, "$2")');

// Object.spec{name: 1} becomes {"@type": "Object.spec", "name": 1}: strings and the braces of plain maps stay as they are.
function plain(text) {
  let out = '';
  const open = [];  // for each bracket: is it the brace of a typed literal?
  let field = false;  // a field name of one comes next
  for (let rest = text; rest;) {
    const [token] = /^("(\\.|[^"\\])*"|'(\\.|[^'\\])*'|(Object(\.\w+)*|JSONPatch)\s*\{|\w+|\s+|[^])/.exec(rest);
    rest = rest.slice(token.length);
    if (/^(Object|JSONPatch)[\w.]*\s*\{$/.test(token)) {
      open.push(true);
      out += `{"@type": "${token.replace(/\s*\{$/, '')}", `;
      field = true;
    } else if (field && /^\w+$/.test(token)) {
      out += `"${token}"`;
      field = false;
    } else {
      if ('([{'.includes(token)) open.push(false);
      if (')]}'.includes(token)) open.pop();
      if (token === ',' && open.at(-1)) field = true;
      out += token;
    }
  }
  return out;
}

// /spec/initContainers/0 → Object.spec.initContainers
const typeAt = (pointer) => `Object${pointer.replace(/\/(\d+|-)(?=\/|$)/g, '').replaceAll('/', '.')}`;

const literal = (value) => (typeof value === 'bigint' ? Number(value) : value);

// Checks that the type of each object literal is the path of the field where it stands, as the API server does, and takes the types away.
function untyped(value, at) {
  if (Array.isArray(value)) return value.map((item) => untyped(item, at));
  if (typeof value !== 'object' || value === null) return literal(value);
  const { '@type': type, ...fields } = value;
  if (type && at && type !== at) throw new Error(`${type} stands where ${at} must stand`);
  return Object.fromEntries(Object.entries(fields).map(([key, item]) => [key, untyped(item, at && `${at}.${key}`)]));
}

const KEYS = { containers: ['name'], initContainers: ['name'], volumes: ['name'], env: ['name'], volumeMounts: ['mountPath'], ports: ['containerPort', 'protocol'] };

// Server-side apply: lists with keys are merged by them, atomic lists may not be changed.
function merged(old, value, name) {
  if (Array.isArray(value)) {
    const keys = KEYS[name];
    if (!keys) throw new Error(`${name} is an atomic list: an apply configuration may not change it`);
    const same = (a, b) => keys.every((key) => a[key] === b[key]);
    return [...(old ?? []).map((item) => { const other = value.find((v) => same(v, item)); return other ? merged(item, other) : item; }),
      ...value.filter((v) => !(old ?? []).some((item) => same(v, item))).map((v) => merged(undefined, v))];
  }
  if (typeof value !== 'object' || value === null) return value;
  return { ...(old ?? {}), ...Object.fromEntries(Object.entries(value).map(([key, item]) => [key, merged(old?.[key], item, key)])) };
}

function patched(pod, { op, path: pointer, value }) {
  const words = pointer.split('/').slice(1).map((w) => w.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = words.pop();
  const target = words.reduce((at, word) => { if (at?.[word] === undefined) throw new Error(`${pointer}: not there`); return at[word]; }, pod);
  if (op === 'remove') {
    if (target[last] === undefined) throw new Error(`${pointer}: not there`);
    if (Array.isArray(target)) target.splice(Number(last), 1); else delete target[last];
  } else if (op === 'add') {
    if (Array.isArray(target)) target.splice(last === '-' ? target.length : Number(last), 0, value); else target[last] = value;
  } else throw new Error(`${op} is not known here`);
}

function admit(spec, pod) {
  const evaluate = (text, object) => {
    const variables = {};
    for (const { name, expression } of spec.variables ?? []) {
      let made;  // evaluated when it is first asked for
      Object.defineProperty(variables, name, { enumerable: true, get: () => (made ??= cel.evaluate(plain(fields(expression)), { object, variables, lists: {} })) });
    }
    return cel.evaluate(plain(fields(text)), { object, variables, lists: {} });
  };
  const labels = pod.metadata?.labels ?? {};
  const wanted = Object.entries(spec.matchConstraints.objectSelector.matchLabels).every(([key, value]) => labels[key] === value);
  if (!wanted || !(spec.matchConditions ?? []).every(({ expression }) => evaluate(expression, pod))) return { unmatched: true };
  let object = structuredClone(pod);
  for (const mutation of spec.mutations) {
    if (mutation.patchType === 'JSONPatch') {
      for (const patch of evaluate(mutation.jsonPatch.expression, object)) {
        patched(object, { ...untyped(patch), value: untyped(patch.value, patch.value?.['@type'] && typeAt(patch.path)) });
      }
    } else object = merged(object, untyped(evaluate(mutation.applyConfiguration.expression, object), 'Object'));
  }
  for (const c of [...object.spec.containers, ...object.spec.initContainers]) {
    for (const v of c.env ?? []) if (v.value !== undefined && v.valueFrom) throw new Error(`${c.name}: ${v.name} has a value and a source`);
  }
  return { pod: object };
}

const [policyFile, podsFile] = process.argv.slice(2);
const { spec } = yaml.loadAll(fs.readFileSync(policyFile, 'utf8')).find((doc) => doc.kind === 'MutatingAdmissionPolicy');
const results = {};
for (const [name, pod] of Object.entries(JSON.parse(fs.readFileSync(podsFile, 'utf8')))) {
  try { results[name] = admit(spec, pod); } catch (error) { results[name] = { [spec.failurePolicy === 'Fail' ? 'refused' : 'unmatched']: error.message }; }
}
console.log(JSON.stringify(results));
