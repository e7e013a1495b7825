// manifests.mjs FILE...: reads Kubernetes manifests, complains about unknown fields (by the client's attribute maps) and wrong types
// (by kubernetes-models), and prints them as one JSON list.  Exit status 1 with the complaints on stderr.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const node = path.resolve(process.env.SIDEKEY_NODE);
const require = createRequire(path.join(node, 'package.json'));
const client = await import(require.resolve('@kubernetes/client-node'));
const yaml = (await import(require.resolve('js-yaml'))).default;  // the client's own loadAllYaml() drops what it does not know
const complaints = [];

function typeOf(name) {
  const list = /^Array<(.*)>$/.exec(name);
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(name);
  return { list: list?.[1], map: map?.[1], model: client[name] };
}

function walk(value, type, where) {
  const { list, map, model } = typeOf(type);
  if (list) {
    if (!Array.isArray(value)) complaints.push(`${where}: a list is needed`);
    else value.forEach((item, i) => walk(item, list, `${where}[${i}]`));
  } else if (map) {
    for (const [key, item] of Object.entries(value)) walk(item, map, `${where}.${key}`);
  } else if (model?.getAttributeTypeMap) {
    if (typeof value !== 'object' || value === null) { complaints.push(`${where}: an object is needed`); return; }
    const fields = new Map(model.getAttributeTypeMap().map((f) => [f.baseName, f.type]));
    for (const [key, item] of Object.entries(value)) {
      if (fields.has(key)) walk(item, fields.get(key), `${where}.${key}`);
      else complaints.push(`${where}.${key}: unknown field`);
    }
  }
}

// v1 since Kubernetes 1.36; neither package has it yet.  Its fields are those of v1beta1.
const NEWER = ['MutatingAdmissionPolicy', 'MutatingAdmissionPolicyBinding'];

async function check(doc, file) {
  const version = doc.apiVersion.split('/').pop();
  if (NEWER.includes(doc.kind) && !client[`V1${doc.kind}`]) {
    walk(doc, `V1beta1${doc.kind}`, `${file}: ${doc.kind}`);
    return;
  }
  walk(doc, version.replace(/^v/, 'V') + doc.kind, `${file}: ${doc.kind}`);
  const models = await import(require.resolve(`kubernetes-models/${doc.apiVersion}/${doc.kind}`));
  const Model = models[doc.kind] ?? models.default?.[doc.kind];
  try { new Model(doc).validate(); } catch (error) { complaints.push(`${file}: ${error.message}`); }
}

const all = [];
for (const file of process.argv.slice(2)) {
  for (const doc of yaml.loadAll(fs.readFileSync(file, 'utf8'))) {
    if (!doc?.kind) continue;  // sidekey.yaml
    all.push(doc);
    if (doc.kind !== 'Kustomization') await check(doc, path.basename(file));
  }
}
if (complaints.length) { console.error(complaints.join('\n')); process.exit(1); }
console.log(JSON.stringify(all));
