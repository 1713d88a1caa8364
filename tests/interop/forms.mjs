// What each message must contain, and the codes of SATP 11.4 for what does not fit, as read in the documents.

import { Refusal, isObject } from './canonical.mjs';

const SATP = 'urn:ietf:params:satp:core:msgtype:';
const RECOVERY = 'urn:ietf:SATP-2pc:msgtype:';

const matches = (pattern) => (value) => typeof value === 'string' && pattern.test(value);
const text = (value) => typeof value === 'string' && value.length > 0 && [...value].length <= 4096;
const anyText = (value) => typeof value === 'string';
const uuid = matches(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
const hash = matches(/^[0-9a-f]{64}$/);
const time = matches(/^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(\.\d+)?Z$/);
const jws = matches(/^[\w-]+\.[\w-]+\.[\w-]+$/);
const code = matches(/^err_\d+\.\d+\.\d+$/);
const base64 = matches(/^[A-Za-z0-9+/]+=*$/);
const flag = (value) => typeof value === 'boolean';
const integer = (low, high) => (value) => Number.isInteger(value) && value >= low && value <= high;
const count = integer(0, 2 ** 53 - 1);
const seconds = integer(1, 10 * 365 * 86400);
const oneOf = (...words) => (value) => words.includes(value);
const listOf = (form) => (value) => Array.isArray(value) && value.every((each) => fits(form, each));
const fits = (form, value) => (typeof form === 'function' ? form(value) : findWrong(form, value) === null);
const lock = oneOf('TIME_LOCK', 'HASH_LOCK', 'HASH_TIME_LOCK');

/** The path of the first member that does not fit, or null. A name that ends with ? is optional. */
function findWrong(form, value) {
  if (!isObject(value)) return [];
  for (const [name, wanted] of Object.entries(form)) {
    const bare = name.replace(/\?$/, '');
    if (!Object.hasOwn(value, bare) || value[bare] === null) {
      if (name === bare) return [bare];
      continue;
    }
    if (typeof wanted !== 'function') {
      const inner = findWrong(wanted, value[bare]);
      if (inner) return [bare, ...inner];
    } else if (!wanted(value[bare])) return [bare];
  }
  return null;
}

// SATP 8.1, 8.2
const CLAIM = {
  digitalAssetId: text, assetProfileId: text, networkLockType: lock, 'assetLockExpirationTime?': seconds,
  verifiedOriginatorEntityId: text, verifiedBeneficiaryEntityId: text,
  originatorPublicKey: isObject, beneficiaryPublicKey: isObject,
  senderGatewaySignaturePublicKey: isObject, receiverGatewaySignaturePublicKey: isObject,
  senderGatewayId: text, recipientGatewayId: text, senderGatewayNetworkId: text, recipientGatewayNetworkId: text,
  'senderGatewayDeviceIdentityPublicKey?': isObject, 'receiverGatewayDeviceIdentityPublicKey?': isObject,
  'senderGatewayOwnerId?': text, 'receiverGatewayOwnerId?': text,
};
const CAPABILITIES = {
  gatewayDefaultSignatureAlgorithm: text, 'gatewaySupportedSignatureAlgorithms?': listOf(text), networkLockType: lock,
  networkLockExpirationTime: seconds, gatewayTlsScheme: text,
};
const ASSERTION = { receipt: jws };

/** Of TABLE 1: step, who says it, message types, what it contains besides the ids. */
export const STEPS = [
  ['1.1', 'sender', ['transfer-proposal'], {
    version: text, transferInitClaimFormat: oneOf('TRANSFER_INIT_CLAIM_FORMAT_1'), transferInitClaim: CLAIM,
    gatewayAndNetworkCapabilities: CAPABILITIES,
  }],
  ['1.2', 'recipient', ['proposal-receipt'], {
    version: text, hashTransferInitClaim: hash, timestamp: time, hashPrevMessage: hash,
  }],
  ['1.3', 'sender', ['transfer-commence'], { hashTransferInitClaim: hash, hashPrevMessage: hash }],
  ['1.4', 'recipient', ['ack-commence'], { hashPrevMessage: hash }],
  ['2.2', 'sender', ['lock-assert'], {
    lockAssertionClaimFormat: oneOf('LOCK_ASSERTION_CLAIM_FORMAT_1'), lockAssertionClaim: ASSERTION,
    lockAssertionExpiration: time, hashPrevMessage: hash,
  }],
  ['2.4', 'recipient', ['assertion-receipt'], { hashPrevMessage: hash }],
  ['3.1', 'sender', ['commit-prepare'], { hashPrevMessage: hash }],
  ['3.3', 'recipient', ['commit-ready', 'ack-prepare'], {
    mintAssertionFormat: oneOf('MINT_ASSERTION_CLAIM_FORMAT_1'), mintAssertionClaim: ASSERTION, hashPrevMessage: hash,
  }],
  ['3.5', 'sender', ['commit-final'], {
    burnAssertionClaimFormat: oneOf('BURN_ASSERTION_CLAIM_FORMAT_1'), burnAssertionClaim: ASSERTION,
    hashPrevMessage: hash,
  }],
  ['3.7', 'recipient', ['ack-commit-final'], {
    assignmentAssertionClaimFormat: oneOf('ASSIGNMENT_ASSERTION_CLAIM_FORMAT_1'), assignmentAssertionClaim: ASSERTION,
    hashPrevMessage: hash,
  }],
  ['3.9', 'sender', ['commit-transfer-complete'], { hashTransferCommence: hash, hashPrevMessage: hash }],
].map(([step, author, names, form]) => ({ step, author, types: names.map((name) => `${SATP}${name}-msg`), form }));

// SATP 11.3, 10.7
const OTHERS = {
  [`${SATP}error-msg`]: {
    version: text, type: matches(/^urn:ietf:params:satp:core:error:err_\d+\.\d+\.\d+$/), status: Number.isInteger,
    title: text, 'detail?': anyText, 'instance?': anyText, 'prevMsgType?': anyText, hashPrevMessage: hash,
    'hashRefusedMessage?': hash, timestamp: time,
  },
  [`${SATP}session-abort-msg`]: {
    reason: text, 'code?': code, receipts: listOf(anyText), hashPrevMessage: hash, timestamp: time,
  },
};

// RECOVERY 5.3
const POSITION = {
  sessionId: uuid, satpPhase: integer(0, 3), sequenceNumber: count, 'step?': text, role: oneOf('sender', 'recipient'),
  messages: count, 'headHash?': hash,
  log: oneOf('nothing', 'open', 'prepared', 'committed', 'leaving', 'left', 'complete', 'frozen'),
  ledger: oneOf('untouched', 'held', 'final', 'undone'), 'peerKey?': matches(/^[\w-]{43}$/),
};
const ANSWER = {
  ...POSITION, verdict: oneOf('continue', 'complete', 'back out', 'unknown', 'dispute'), 'continueWith?': text,
  decidedBy: matches(/^[A-Z]$/),
};
const TAKEOVERS = listOf({ certificate: base64, epoch: integer(1, 2 ** 53 - 1) });
const OF_SESSION = { sessionId: uuid, 'contextId?': text };
const RECOVERIES = {
  'transfer-resume': {
    gatewayId: text, peerId: text,
    crashErrorCode: oneOf('process', 'power', 'storage-tail', 'storage', 'key', 'connection', 'replaced'),
    sessions: listOf(POSITION), isWhole: flag, 'after?': uuid, 'upTo?': uuid, isBackup: flag,
    'newIdentityPublicKey?': isObject, 'certificate?': base64, 'takeovers?': TAKEOVERS,
    restartFrom: oneOf('last-message', 'stage'), nonce: text, incarnation: count, epoch: count, timestamp: time,
  },
  'transfer-continue': {
    gatewayId: text, sessions: listOf(ANSWER), notNamed: listOf(ANSWER), tlsResume: flag, 'certificate?': base64,
    'takeovers?': TAKEOVERS, 'epoch?': count, nonce: text, highestIncarnation: count, 'upTo?': uuid,
    hashPrevMessage: hash, timestamp: time,
  },
  recover: {
    ...OF_SESSION, 'satpPhase?': integer(0, 3), 'sequenceNumber?': count, isBackup: flag,
    'newIdentityPublicKey?': isObject, lastEntryTimestamp: time, 'position?': POSITION, 'certificate?': base64,
    'epoch?': count, 'receipts?': listOf(jws), 'hashPrevMessage?': hash,
  },
  'recover-update': {
    ...OF_SESSION, hashRecoverMessage: hash, recoveredLogs: listOf(jws), position: POSITION,
    'newIdentityPublicKey?': isObject, 'certificate?': base64, 'epoch?': count, 'receipts?': listOf(jws),
  },
  'recover-update-ack': {
    ...OF_SESSION, hashRecoverUpdateMessage: hash, success: flag, entriesChanged: listOf(hash),
    recoveredLogs: listOf(jws),
  },
  'recover-success': {
    ...OF_SESSION, hashRecoverUpdateAckMessage: hash, success: flag, entriesChanged: listOf(hash),
  },
  'recover-dispute': {
    ...OF_SESSION, reason: text, evidence: listOf(jws), 'hashPrevMessage?': hash, timestamp: time,
  },
  rollback: {
    ...OF_SESSION, success: flag, actionsPerformed: listOf(text), proofs: listOf(jws), reason: text, 'code?': code,
    'hashPrevMessage?': hash, timestamp: time,
  },
  'rollback-ack': {
    ...OF_SESSION, success: flag, actionsPerformed: listOf(text), proofs: listOf(jws), hashPrevMessage: hash,
    timestamp: time,
  },
};

// SATP 11.4: err_STEP.NUMBER by the field that it is about.
const IDS = { transferContextId: 1, sessionId: 2 };
const CODES = {
  1.1: {
    ...IDS, transferInitClaimFormat: 3, digitalAssetId: 11, assetProfileId: 12, verifiedOriginatorEntityId: 13,
    verifiedBeneficiaryEntityId: 14, originatorPublicKey: 15, beneficiaryPublicKey: 16,
    senderGatewaySignaturePublicKey: 17, receiverGatewaySignaturePublicKey: 18, senderGatewayId: 19,
    recipientGatewayId: 20, gatewayDefaultSignatureAlgorithm: 31, networkLockType: 32, networkLockExpirationTime: 33,
    gatewayTlsScheme: 34, gatewayLoggingProfile: 35, gatewayAccessControlProfile: 36,
  },
  1.2: { ...IDS, hashTransferInitClaim: 3 },
  1.3: { ...IDS, hashTransferInitClaim: 3, hashPrevMessage: 4 },
  1.4: { ...IDS, hashPrevMessage: 3 },
  2.2: { ...IDS, lockAssertionClaimFormat: 3, lockAssertionExpiration: 4, hashPrevMessage: 5 },
  2.4: { ...IDS, hashPrevMessage: 3 },
  3.1: { ...IDS, hashPrevMessage: 3 },
  3.3: { ...IDS, hashPrevMessage: 3, mintAssertionFormat: 4 },
  3.5: { ...IDS, hashPrevMessage: 3, burnAssertionClaimFormat: 4 },
  3.7: { ...IDS, hashPrevMessage: 3, assignmentAssertionClaimFormat: 4 },
  3.9: { ...IDS, hashPrevMessage: 3, hashTransferCommence: 4 },
};
export const GENERAL = 'err_0.1.1';

/** The code for the first of these fields that has one at this step; else the general one. */
export function findCode(step, ...names) {
  const number = names.map((name) => CODES[step]?.[name]).find((each) => each !== undefined);
  return number === undefined ? GENERAL : `err_${step}.${number}`;
}

/** The row of TABLE 1 of a payload's type; undefined for a message that is no step. */
export const findStep = (payload) => STEPS.find((row) => row.types.includes(payload.messageType));

/** Refused unless the payload is one of the documents' messages, with what that must contain. */
export function verifyForm(payload) {
  const type = payload.messageType;
  const recovery = typeof type === 'string' && type.startsWith(RECOVERY);
  const row = findStep(payload);
  const name = recovery ? type.slice(RECOVERY.length).replace(/-msg$/, '') : '';
  const known = recovery && Object.hasOwn(RECOVERIES, name) && type.endsWith('-msg');
  const own = known ? RECOVERIES[name] : row?.form ?? (typeof type === 'string' && Object.hasOwn(OTHERS, type) ? OTHERS[type] : undefined);
  if (!own) throw new Refusal('unknown messageType', GENERAL);
  const wrong = findWrong(recovery ? own : { sessionId: uuid, transferContextId: text, ...own }, payload);
  if (!wrong) return;
  const inner = [...wrong].reverse();
  const formats = [...wrong.map((part) => `${part}Format`), ...wrong.map((part) => `${part.replace(/Claim$/, '')}Format`)];
  throw new Refusal(`${wrong.join('.')} is missing or has another form`, row ? findCode(row.step, ...inner, ...formats) : GENERAL);
}
