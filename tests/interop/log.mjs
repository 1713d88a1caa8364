// A log as a file of lines, one canonical entry a line (RECOVERY 3, 4): whole, torn at its end, or broken.

import { canonical, decode, digest, isObject, parse } from './canonical.mjs';
import { readRing, verify } from './jws.mjs';

const TEXTS = [
  'version', 'sessionId', 'contextId', 'gatewayId', 'step', 'operation', 'timestamp', 'payloadHash', 'lastEntryHash',
];
const OTHERS = ['sequenceNumber', 'satpPhase', 'payload'];
const OPTIONAL = [
  'messageSignature', 'resourceUrl', 'developerUrn', 'actionResponse', 'credentialProfile', 'credentialBlock',
  'payloadProfile', 'applicationProfile', 'originGatewayId', 'originGatewayPubkey', 'originGatewaySystem',
  'destinationGatewayId', 'destinationGatewayPubkey', 'destinationGatewaySystem', 'loggingProfile',
  'accessControlProfile', 'recoveryMessage', 'recoveryPayload', 'writerId', 'epoch',
];
const OPERATIONS = ['init', 'exec', 'done', 'ack', 'fail'];
const FIELDS = new Set([...TEXTS, ...OTHERS, ...OPTIONAL]);

class Broken extends Error {
  constructor(place) {
    super('broken');
    this.place = { standing: 'broken', ...place };
  }
}

/** An entry and its bytes, or null for a line that is none. */
function readEntry(line) {
  try {
    const entry = parse(line);
    const isGood =
      isObject(entry) &&
      Object.entries(entry).every(([name, value]) => FIELDS.has(name) && value !== null) &&
      TEXTS.every((name) => typeof entry[name] === 'string') &&
      OPERATIONS.includes(entry.operation) &&
      Number.isSafeInteger(entry.sequenceNumber) &&
      entry.sequenceNumber >= 1 &&
      Number.isInteger(entry.satpPhase) &&
      isObject(entry.payload) &&
      Buffer.from(canonical(entry)).equals(line);
    return isGood ? entry : null;
  } catch {
    return null;
  }
}

function readLines(bytes) {
  const lines = [];
  let start = 0;
  for (let end; (end = bytes.indexOf(10, start)) >= 0; start = end + 1) lines.push(bytes.subarray(start, end));
  const isCut = start < bytes.length;
  let torn = isCut ? lines.length + 1 : 0;
  const sessions = new Map();
  for (const [place, line] of lines.entries()) {
    const entry = readEntry(line);
    if (!entry) {
      if (isCut || place + 1 < lines.length) throw new Broken({ line: place + 1 });
      torn = place + 1;
      break;
    }
    const entries = sessions.get(entry.sessionId) ?? [];
    sessions.set(entry.sessionId, entries);
    const stored = entries[entry.sequenceNumber - 1];
    if (!stored || canonical(stored) !== canonical(entry)) entries.push(entry); // the same append counts once
  }
  return { sessions, torn };
}

function verifyChain(sessionId, entries) {
  let before = null;
  for (const [place, entry] of entries.entries()) {
    const broken = (field) => new Broken({ field, sessionId, entry: place + 1 });
    if (entry.sequenceNumber !== place + 1) throw broken('sequenceNumber');
    before ??= digest({ genesis: 'log', sessionId, gatewayId: entry.gatewayId });
    if (entry.lastEntryHash !== before) throw broken('lastEntryHash');
    if (entry.payloadHash !== digest(entry.payload)) throw broken('payloadHash');
    before = digest(entry);
  }
}

/** Each entry's signature: a JWS whose payload, the entry without it, is detached (RFC 7515 appendix F). */
async function verifySignatures(sessions, keys) {
  const ring = await readRing(keys);
  for (const [sessionId, entries] of sessions) {
    for (const [place, { messageSignature = '', ...entry }] of entries.entries()) {
      const [header, signature] = messageSignature.split('..');
      const content = Buffer.from(canonical(entry)).toString('base64url');
      const signed = await verify(ring, `${header}.${content}.${signature}`).catch(() => null);
      if (signed?.signer === entry.gatewayId) continue;
      throw new Broken({ field: 'messageSignature', sessionId, entry: place + 1 });
    }
  }
}

const isEnd = (entry) => (entry.step === '3.9' && entry.operation !== 'fail') || entry.payload.ended === true;

export async function verifyLog(input, shared) {
  const bytes = 'text' in input ? Buffer.from(input.text) : decode(input.bytes);
  try {
    const { sessions, torn } = readLines(bytes);
    for (const [sessionId, entries] of sessions) verifyChain(sessionId, entries);
    if (input.keys) {
      const chosen = input.keys.map((name) => [name, shared.keys[name]]);
      await verifySignatures(sessions, Object.fromEntries(chosen));
    }
    const found = [...sessions].map(([sessionId, entries]) => ({
      sessionId,
      gatewayId: entries[0].gatewayId,
      entries: entries.length,
      head: digest(entries.at(-1)),
      isOpen: !entries.some(isEnd),
    }));
    return torn ? { standing: 'torn', line: torn, sessions: found } : { standing: 'whole', sessions: found };
  } catch (error) {
    if (error instanceof Broken) return error.place;
    throw error;
  }
}
