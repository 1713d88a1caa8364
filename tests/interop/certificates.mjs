// Certificates of gateways (RFC 5280, SATP 4.4, RECOVERY 6.1), read with Node's own X.509 and a few lines of DER.

import { X509Certificate } from 'node:crypto';
import { Refusal } from './canonical.mjs';
import { readKey } from './jws.mjs';

const BACKUPS = '2.25.' + BigInt('0xa04fff48e8e64400b65ad63058a36a11');
const MOST_BACKUPS = 16;

const refuse = (words) => {
  throw new Refusal(words, 'err_0.1.3');
};

/** The elements of DER one after another: tag and content. Lengths in their shortest form only. */
function* readDer(bytes) {
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at];
    let length = bytes[at + 1];
    let start = at + 2;
    if (length === undefined || length === 0x80 || length > 0x84) throw new RangeError('no length of DER');
    if (length > 0x80) {
      start += length - 0x80;
      length = bytes.subarray(at + 2, start).reduce((sum, byte) => sum * 256 + byte, 0);
      if (length < 0x80 || length < 256 ** (start - at - 3)) throw new RangeError('not the shortest length');
    }
    if (start + length > bytes.length) throw new RangeError('the element is cut');
    yield { tag, content: bytes.subarray(start, start + length) };
    at = start + length;
  }
}

/** The numbers of an object identifier as text; its first two are in one (X.690 8.19). */
function readOid(bytes) {
  const numbers = [0n];
  for (const byte of bytes) {
    numbers[numbers.length - 1] = (numbers.at(-1) << 7n) | BigInt(byte & 0x7f);
    if (byte < 0x80) numbers.push(0n);
  }
  const [first, ...rest] = numbers.slice(0, -1);
  const top = first < 80n ? first / 40n : 2n;
  return [top, first - top * 40n, ...rest].join('.');
}

function findBackups(der) {
  const [certificate] = readDer(der);
  const [body] = readDer(certificate.content);
  const found = [...readDer(body.content)].find((each) => each.tag === 0xa3);
  if (!found) return [];
  const [extensions] = readDer(found.content);
  for (const extension of readDer(extensions.content)) {
    const parts = [...readDer(extension.content)];
    if (readOid(parts[0].content) === BACKUPS) return readBackups(parts.at(-1).content);
  }
  return [];
}

/** SEQUENCE SIZE (1..16) OF OCTET STRING (SIZE (32)). */
function readBackups(value) {
  const lists = [...readDer(value)];
  const hashes = lists.length === 1 && lists[0].tag === 0x30 ? [...readDer(lists[0].content)] : [];
  const areGood = hashes.every((each) => each.tag === 4 && each.content.length === 32);
  if (!areGood || hashes.length < 1 || hashes.length > MOST_BACKUPS) throw new RangeError('no list of backups');
  return hashes.map((each) => each.content.toString('hex'));
}

const toTime = (text) => new Date(text).toISOString().replace('.000Z', 'Z');

/** A certificate as its base64 text says it; refused if it cannot be read or has no key on P-256. */
export async function readCertificate(text) {
  try {
    const der = Buffer.from(text, 'base64');
    if (der.toString('base64') !== text) throw new RangeError('no base64 of DER');
    const x509 = new X509Certificate(der);
    if (!x509.raw.equals(der)) throw new RangeError('more bytes than a certificate');
    const names = Object.fromEntries(x509.subject.split('\n').map((line) => [line.split('=', 1)[0], line.replace(/^\w+=/, '')]));
    const key = await readKey(x509.publicKey.export({ format: 'jwk' }));
    return {
      x509, text, ca: x509.ca, gateway: names.CN, owner: names.O, serial: BigInt(`0x${x509.serialNumber}`), kid: key.kid,
      keyHash: key.keyHash, backups: findBackups(der), validFrom: toTime(x509.validFrom), validUntil: toTime(x509.validTo),
    };
  } catch (error) {
    return refuse(`a certificate that cannot be read: ${error.message}`);
  }
}

const describe = (shown) => ({
  gateway: shown.gateway, owner: shown.owner, serial: Number(shown.serial), kid: shown.kid, backups: shown.backups,
  validFrom: shown.validFrom, validUntil: shown.validUntil,
});

const isSignedBy = (shown, issuer) => shown.x509.checkIssued(issuer.x509) && shown.x509.verify(issuer.x509.publicKey);

/** Who may certify whom, and the certificates that are known before the one of the case. */
class Known {
  static async read(input, shared) {
    const known = new Known();
    const roots = {};
    for (const [name, text] of Object.entries(shared.roots)) {
      const root = await readCertificate(text);
      if (!root.ca || !isSignedBy(root, root)) refuse(`the root ${name} is not signed by itself`);
      roots[name] = root;
    }
    known.owners = [];
    for (const [name, { certificate, root, customers = [] }] of Object.entries(shared.owners)) {
      const owner = await readCertificate(certificate);
      if (!owner.ca || !isSignedBy(owner, roots[root])) refuse(`the root has not signed ${name}`);
      known.owners.push({ ...owner, organizations: [owner.owner, ...customers], isTrusted: shared.trusted.includes(root) });
    }
    Object.assign(known, { at: toTime(input.at), latest: {}, peers: {}, revoked: new Set() });
    const shown = await Promise.all(input.known.map((name) => readCertificate(shared.certificates[name])));
    for (const each of shown.sort((one, other) => Number(one.serial - other.serial))) {
      known.latest[each.gateway] ? known.replace(each) : known.admit(each);
    }
    for (const { gateway, certificate, epoch } of input.takeovers ?? []) {
      const backup = await readCertificate(shared.certificates[certificate]);
      known.takeOver(backup, gateway, epoch);
    }
    for (const { gateway, serial } of input.revoked ?? []) known.revoked.add(`${serial} of ${gateway}`);
    return known;
  }

  /** The owner that has signed a certificate, under a trusted root. */
  findIssuer(shown) {
    const issuer = this.owners.find((owner) => owner.organizations.includes(shown.owner) && isSignedBy(shown, owner));
    if (!issuer?.isTrusted) refuse('no known owner under a trusted root has signed it');
    return issuer;
  }

  admit(shown) {
    const issuer = this.findIssuer(shown);
    this.keep(shown, shown.gateway);
    this.peers[shown.gateway] = { acting: shown.gateway, issuer, epoch: 0 };
  }

  keep(shown, peer) {
    const before = this.latest[shown.gateway];
    this.latest[shown.gateway] = { ...shown, peer, lost: [...(before?.lost ?? []), ...(before ? [before.keyHash] : [])] };
  }

  /** A successor of the latest certificate of the same gateway, or that one itself. */
  replace(shown) {
    const latest = this.latest[shown.gateway];
    if (shown.text === latest.text) return;
    const { issuer } = this.peers[latest.peer];
    if (shown.owner !== latest.owner || !isSignedBy(shown, issuer)) refuse('another owner has signed it');
    if (shown.serial <= latest.serial) refuse('a certificate with a higher serial number is known');
    this.refuseKeyOfAnother(shown, shown.gateway);
    if (latest.lost.includes(shown.keyHash)) refuse('its key was replaced before');
    this.refuseRevoked(shown);
    this.keep(shown, latest.peer);
  }

  refuseKeyOfAnother(shown, id) {
    const isOfAnother = ([name, each]) => name !== id && [each.keyHash, ...each.lost].includes(shown.keyHash);
    if (Object.entries(this.latest).some(isOfAnother)) refuse('its key is the key of another gateway');
  }

  isRevoked(shown) {
    return this.revoked.has(`${shown.serial} of ${shown.gateway}`);
  }

  refuseRevoked(shown) {
    if (this.isRevoked(shown)) refuse('it was revoked');
  }

  refuseInvalid(shown) {
    if (this.at < shown.validFrom || this.at > shown.validUntil) refuse('it is not valid at this time');
  }

  /** What a gateway shows when it connects. */
  judge(shown, gateway) {
    const current = this.latest[this.peers[gateway]?.acting];
    if (!current) refuse('nothing is known of this gateway');
    if (shown.gateway !== current.gateway) refuse('it is one of another gateway');
    this.replace(shown);
    this.refuseRevoked(shown);
    this.refuseInvalid(shown);
  }

  /** Whether the gateway of this certificate may act for a peer from an epoch on (RECOVERY 6.1). */
  verifyBackup(shown, gateway, epoch) {
    const peer = this.peers[gateway];
    const current = this.latest[peer?.acting];
    if (!current) refuse('nothing is known of this gateway');
    const acts = shown.text === current.text && peer.epoch > 0;
    if (epoch < 1 || epoch < peer.epoch || (epoch === peer.epoch && !acts)) refuse('the epoch is not a later one');
    this.refuseRevoked(shown);
    this.refuseInvalid(shown);
    if (acts) return;
    if (shown.gateway === peer.acting) refuse('nobody replaces itself');
    const latest = this.latest[shown.gateway];
    if (latest && latest.peer !== gateway) refuse('it belongs to a peer of its own');
    if (latest && shown.text !== latest.text && shown.serial <= latest.serial) refuse('a newer one is known');
    this.refuseKeyOfAnother(shown, shown.gateway);
    if (latest?.lost.includes(shown.keyHash)) refuse('its key was lost');
    if (this.findIssuer(shown) !== peer.issuer) refuse('it has another parent');
    if (shown.owner !== current.owner) refuse('it is of another organization');
    if (shown.gateway === gateway && this.isRevoked(current)) return;
    this.refuseRevoked(current);
    if (!current.backups.includes(shown.keyHash)) refuse('its key is not in the list');
  }

  takeOver(shown, gateway, epoch) {
    this.verifyBackup(shown, gateway, epoch);
    if (this.latest[shown.gateway]?.text !== shown.text) this.keep(shown, gateway);
    Object.assign(this.peers[gateway], { acting: shown.gateway, epoch });
  }
}

export async function verifyCertificate(input, shared) {
  const known = await Known.read(input, shared);
  const shown = await readCertificate(input.certificate);
  if (!input.known.length) known.admit(shown);
  known.judge(shown, input.gateway);
  return describe(shown);
}

export async function verifyBackup(input, shared) {
  const known = await Known.read(input, shared);
  const shown = await readCertificate(input.certificate);
  known.verifyBackup(shown, input.gateway, input.epoch);
  return describe(shown);
}
