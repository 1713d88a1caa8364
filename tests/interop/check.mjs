// Every signature, digest and chain of the test vectors, verified with `jose` and `canonicalize`.
//     node tests/interop/check.mjs [FOLDER]            the folder of the vectors; ../vectors unless it is named
//     node tests/interop/check.mjs --naive [FOLDER]    with names sorted by hand in place of RFC 8785: it must fail
//
// A case is verified whole if its operation is done here and gives the output or the refusal that is written down.
// Whatever a good case contains besides, at any depth, is searched for compact JWS, and each has to verify too.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { Refusal, digest, isObject, useCanonicaliser } from './canonical.mjs';
import { readCertificate } from './certificates.mjs';
import { readKey, split, verify } from './jws.mjs';
import { OPERATIONS } from './operations.mjs';
import { InPart } from './recovery.mjs';

// What is not done here, and why. An operation that is in neither list is a failure: nothing is skipped unseen.
const NOT_DONE = {
  decide: 'a table of words: it has no signature, no digest and no chain',
  'play-channel': 'it takes two parties that run; of messages only those are written down that are refused',
  'play-scenario': 'it takes two gateways that run; no message is written down in it',
};
const MOST_SHOWN = 40;
const JWS = /eyJ[\w-]*\.[\w-]+\.[\w-]+/g;

/** Every text in a JSON value. */
function* walk(value) {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) yield* walk(each);
}

function* findKeys(value) {
  if (!isObject(value) && !Array.isArray(value)) return;
  if (isObject(value) && typeof value.kty === 'string' && typeof value.crv === 'string') yield value;
  for (const each of Object.values(value)) yield* findKeys(each);
}

/** Learn the keys that a family shares, by thumbprint: as JWK, and in certificates; and those it signs with. */
async function learnKeys({ operation, shared = {}, cases }, ring) {
  const signers = operation === 'sign-message' ? cases.map((each) => each.input.key) : [];
  const jwks = [...findKeys([shared, signers])].map(({ d, ...open }) => open);
  for (const text of walk(shared)) if (text.startsWith('MII')) jwks.push(await readCertifiedKey(text));
  for (const jwk of jwks) {
    const key = await readKey(jwk);
    ring.set(key.kid, { ...key, owner: key.kid });
  }
}

async function readCertifiedKey(text) {
  const { x509 } = await readCertificate(text);
  return x509.publicKey.export({ format: 'jwk' });
}

/** Verify every JWS in a value, and in the payloads of those; and the links of chains. `seen` has each JWS once. */
async function sweep(value, ring, seen) {
  for (const list of findChains(value)) verifyLinks(list);
  for (const text of walk(value)) {
    for (const [compact] of text.matchAll(JWS)) {
      if (seen.has(compact)) continue;
      const { payload } = await verify(await learnOwnKey(compact, ring), compact);
      seen.add(compact);
      await sweep(payload, ring, seen);
    }
  }
}

/** A message may bring a certificate for the new key that signs it. Whether that counts is not asked here. */
async function learnOwnKey(compact, ring) {
  const [, text] = split(compact).payload.toString().match(/"certificate":"(MII[^"]+)"/) ?? [];
  if (!text) return ring;
  const key = await readKey(await readCertifiedKey(text));
  return new Map(ring).set(key.kid, { ...key, owner: key.kid });
}

/** Lists of messages in the order in which they were sent. */
function* findChains(value) {
  if (typeof value !== 'object' || value === null) return;
  for (const [name, each] of Object.entries(value)) {
    if (['chain', 'recoveredLogs'].includes(name) && Array.isArray(each)) yield each;
    else yield* findChains(each);
  }
}

function verifyLinks(list) {
  const payloads = list.map((compact) => split(compact).payload);
  for (const [place, payload] of payloads.entries()) {
    if (place === 0) continue;
    const { hashPrevMessage } = JSON.parse(payload);
    if (hashPrevMessage !== digest(payloads[place - 1])) throw new Error(`message ${place + 1} of a chain does not follow`);
  }
}

/** What a good case refers to by name in what the family shares. */
function collect({ input, expect }, shared) {
  const { messages = {} } = shared;
  return [input, expect, ...[...walk(input)].filter((name) => Object.hasOwn(messages, name)).map((name) => messages[name])];
}

/** One case by its operation: `whole`, `in part` or `not`; an Error says what is wrong. */
async function judge({ operation, shared = {} }, { input, expect, error }, why) {
  if (!OPERATIONS[operation]) {
    if (!NOT_DONE[operation]) throw new Error(`nobody has said why the operation ${operation} is not done here`);
    why.add(NOT_DONE[operation]);
    return 'not';
  }
  let output;
  let word = 'whole';
  try {
    output = await OPERATIONS[operation](input, shared);
  } catch (refusal) {
    if (refusal instanceof InPart) {
      why.add(refusal.message);
      [output, word] = [refusal.output, 'in part'];
    } else if (!(refusal instanceof Refusal)) {
      throw refusal;
    } else if (!error) {
      throw new Error(`it was refused and must not be: ${refusal.message}`);
    } else if (error.code !== '' && error.code !== refusal.code) {
      throw new Error(`refused with ${refusal.code || 'no code'} and not with ${error.code}: ${refusal.message}`);
    } else return 'whole';
  }
  if (error && word === 'whole') throw new Error('it has to be refused and was not');
  if (!error && !isDeepStrictEqual(output, expect)) throw new Error(`another output: ${JSON.stringify(output).slice(0, 300)}`);
  return word;
}

class Findings {
  constructor(family) {
    Object.assign(this, { family, whole: 0, 'in part': 0, not: 0, failed: 0, cases: family.cases.length });
    Object.assign(this, { why: new Set(), failures: [], seen: new Set() });
  }

  get signatures() {
    return this.seen.size;
  }

  async guard(where, act) {
    try {
      await act();
    } catch (error) {
      this.failed++;
      this.failures.push(`${this.family.family} / ${where}: ${error.message}`);
    }
  }

  async check(ring) {
    const { shared = {}, cases } = this.family;
    for (const each of cases) {
      await this.guard(each.name, async () => {
        const word = await judge(this.family, each, this.why);
        if (each.expect && word !== 'not' && !shared.states) await sweep(collect(each, shared), ring, this.seen);
        this[word]++;
      });
    }
    if (shared.states) await this.guard('states', () => sweep(shared.states, ring, this.seen)); // its cases are bad ones
  }
}

/** What one writes who has not read RFC 8785. */
function naive(value) {
  const sorted = (each) => {
    if (Array.isArray(each)) return each.map(sorted);
    return isObject(each) ? Object.fromEntries(Object.keys(each).sort().map((name) => [name, sorted(each[name])])) : each;
  };
  return JSON.stringify(sorted(value));
}

const [...words] = process.argv.slice(2);
if (words[0] === '--naive') {
  useCanonicaliser(naive);
  words.shift();
}
if (words.length > 1 || words[0]?.startsWith('-')) {
  console.error('node tests/interop/check.mjs [--naive] [FOLDER]');
  process.exit(2);
}
const folder = words[0] ?? fileURLToPath(new URL('../vectors', import.meta.url));
if (!existsSync(folder)) {
  console.error(`There is no folder ${folder}.`);
  process.exit(2);
}
const families = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort()
  .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
  .filter((each) => each.cases);
if (!families.length) console.log(`There are no vectors in ${folder}.`);
const ring = new Map(); // the keys of all families: a receipt may stand in one of them and its network in another
const found = families.map((family) => new Findings(family));
for (const each of found) await each.guard('keys', () => learnKeys(each.family, ring));
for (const each of found) await each.check(ring);

const COLUMNS = ['cases', 'whole', 'in part', 'not', 'failed', 'signatures'];
const print = (name, cells) => console.log(name.padEnd(20) + cells.map((each) => String(each).padStart(11)).join(''));
print('family', COLUMNS);
for (const each of found) print(each.family.family, COLUMNS.map((column) => each[column]));
print('all', COLUMNS.map((column) => found.reduce((sum, each) => sum + each[column], 0)));
for (const { family, why } of found) for (const words of why) console.log(`not verified in ${family.family}: ${words}`);
const failures = found.flatMap((each) => each.failures);
for (const each of failures.slice(0, MOST_SHOWN)) console.log(`FAILED ${each}`);
if (failures.length > MOST_SHOWN) console.log(`and ${failures.length - MOST_SHOWN} more`);
process.exitCode = failures.length || !found.length ? 1 : 0;
