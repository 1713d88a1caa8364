// Keys and compact JWS (RFC 7515, 7638) with npm's `jose`: whose key it is, whether it signed these bytes, and what.

import { createECDH, createHash, createHmac, createPublicKey, webcrypto } from 'node:crypto';
import { CompactSign, calculateJwkThumbprint, compactVerify, importJWK } from 'jose';
import { Refusal, canonical, decode, digest, isObject, parse } from './canonical.mjs';

globalThis.crypto ??= webcrypto; // Node 18 has it, but not under this name

const ALGORITHMS = { 'EC P-256': 'ES256', 'OKP Ed25519': 'EdDSA' };
const LONGEST_PATH = 64; // levels of nesting

/** A JWS that does not count. `kind`: malformed, signature, json, object. */
export class BadJws extends Refusal {
  constructor(kind, reason) {
    super(reason, kind === 'signature' ? 'err_0.1.3' : 'err_0.1.1');
    this.kind = kind;
  }
}

/** A public key: its thumbprint, its algorithm, and for P-256 the digest of its SubjectPublicKeyInfo (RFC 5480). */
export async function readKey(jwk) {
  const algorithm = ALGORITHMS[`${jwk.kty} ${jwk.crv}`];
  if (!algorithm || 'd' in jwk) throw new Refusal('not the JWK of a public key on P-256 or Ed25519');
  for (const name of algorithm === 'ES256' ? ['x', 'y'] : ['x']) {
    if (typeof jwk[name] !== 'string' || decode(jwk[name])?.length !== 32) throw new Refusal(`${name} has not 32 bytes`);
  }
  const { kty, crv, x, y } = jwk;
  const bare = algorithm === 'ES256' ? { kty, crv, x, y } : { kty, crv, x };
  try {
    const key = await importJWK(bare, algorithm);
    const kid = await calculateJwkThumbprint(bare);
    const der = createPublicKey({ key: bare, format: 'jwk' }).export({ type: 'spki', format: 'der' });
    return { key, kid, algorithm, keyHash: algorithm === 'ES256' ? digest(der) : undefined };
  } catch (error) {
    throw new Refusal(`no such key: ${error.message}`);
  }
}

/** Keys by their thumbprints, each with the name of its owner. `keys`: {owner: JWK}. */
export async function readRing(keys) {
  const ring = new Map();
  for (const [owner, jwk] of Object.entries(keys)) {
    const key = await readKey(jwk);
    ring.set(key.kid, { ...key, owner });
  }
  return ring;
}

/** The three parts of a compact JWS and its header, not verified. */
export function split(compact) {
  const parts = typeof compact === 'string' ? compact.split('.') : [];
  const [head, payload] = parts.map(decode);
  if (parts.length !== 3 || !head || !payload) throw new BadJws('malformed', 'not three parts in base64url');
  let header;
  try {
    header = parse(head);
  } catch {
    throw new BadJws('malformed', 'the protected header is not JSON');
  }
  if (!isObject(header)) throw new BadJws('malformed', 'the protected header is no object');
  if ('crit' in header || 'b64' in header) throw new BadJws('malformed', 'an extension that is not understood');
  return { header, payload };
}

/** Verify a compact JWS with the keys of a ring: {signer, header, payload, digest}. */
export async function verify(ring, compact) {
  const { header, payload } = split(compact);
  const key = ring.get(header.kid);
  if (!key) throw new BadJws('signature', `no key is known by the kid ${header.kid}`);
  const signature = compact.split('.')[2];
  if (Buffer.from(signature, 'base64url').toString('base64url') !== signature) {
    throw new BadJws('signature', 'the signature is not written as base64url writes it'); // jose takes unused bits
  }
  try {
    await compactVerify(compact, key.key, { algorithms: [key.algorithm] });
  } catch (error) {
    throw new BadJws('signature', `${error.code ?? error.name}: ${error.message}`);
  }
  return { signer: key.owner, header, payload: readPayload(payload), digest: digest(payload), kid: key.kid };
}

/** A payload: a JSON object in canonical form. */
export function readPayload(bytes) {
  let value;
  try {
    value = parse(bytes);
  } catch (error) {
    throw new BadJws('json', `the payload is not JSON: ${error.message}`);
  }
  if (!isObject(value)) throw new BadJws('object', 'the payload is no JSON object');
  if (findDepth(value) > LONGEST_PATH) throw new BadJws('json', 'the payload is nested too deeply');
  let text = null;
  try {
    text = canonical(value);
  } catch {
    // it has no canonical form
  }
  if (text === null || !Buffer.from(text).equals(bytes)) throw new BadJws('json', 'the payload is not canonical');
  return value;
}

function findDepth(value) {
  let depth = 0;
  for (let level = [value]; level.length; depth++) {
    level = level.filter((each) => typeof each === 'object' && each !== null).flatMap(Object.values);
  }
  return depth - 1;
}

/** A compact JWS over the canonical bytes. EdDSA is `jose`'s; its ES256 is not deterministic, so that is done here. */
export async function sign(jwk, payload, more = {}) {
  const { d, ...open } = jwk;
  const { kid, algorithm } = await readKey(open);
  const header = JSON.parse(canonical({ alg: algorithm, kid, ...more }));
  const bytes = Buffer.from(canonical(payload));
  if (algorithm === 'EdDSA') {
    return new CompactSign(bytes).setProtectedHeader(header).sign(await importJWK(jwk, algorithm));
  }
  const input = [canonical(header), bytes].map((part) => Buffer.from(part).toString('base64url')).join('.');
  const compact = `${input}.${signByRfc6979(Buffer.from(input), decode(d)).toString('base64url')}`;
  await compactVerify(compact, await importJWK(open, algorithm)); // and `jose` agrees
  return compact;
}

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n; // of P-256
const toNumber = (bytes) => BigInt(`0x${bytes.toString('hex')}`);
const toBytes = (number) => Buffer.from(number.toString(16).padStart(64, '0'), 'hex');

/** ECDSA on P-256 with SHA-256 and the nonce of RFC 6979 3.2; r and s of 32 bytes each (RFC 7518 3.4). */
function signByRfc6979(message, secret) {
  const hash = createHash('sha256').update(message).digest();
  const z = toNumber(hash) % ORDER;
  const mac = (key, ...parts) => createHmac('sha256', key).update(Buffer.concat(parts)).digest();
  let v = Buffer.alloc(32, 1);
  let k = Buffer.alloc(32, 0);
  for (const tag of [0, 1]) {
    k = mac(k, v, Buffer.from([tag]), secret, toBytes(z));
    v = mac(k, v);
  }
  for (;;) {
    v = mac(k, v);
    const nonce = toNumber(v);
    if (nonce > 0n && nonce < ORDER) {
      const curve = createECDH('prime256v1');
      curve.setPrivateKey(v);
      const r = toNumber(curve.getPublicKey().subarray(1, 33)) % ORDER;
      const s = (invert(nonce) * ((z + r * toNumber(secret)) % ORDER)) % ORDER;
      if (r !== 0n && s !== 0n) return Buffer.concat([toBytes(r), toBytes(s)]);
    }
    k = mac(k, v, Buffer.from([0]));
    v = mac(k, v);
  }
}

/** The inverse modulo the order, which is prime: a to the power of order - 2. */
function invert(number) {
  let [result, base, power] = [1n, number % ORDER, ORDER - 2n];
  for (; power > 0n; power >>= 1n, base = (base * base) % ORDER) if (power & 1n) result = (result * base) % ORDER;
  return result;
}
