// What a new implementer begins with: whole transfers and recoveries, verified in one file.
// It needs what tests/vectors/README.md says, the vectors, and nothing else of this repository.

import { createHash, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import canonicalize from 'canonicalize';
import { calculateJwkThumbprint, compactVerify, decodeProtectedHeader, importJWK } from 'jose';

globalThis.crypto ??= webcrypto; // Node 18

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const insist = (holds, words) => {
  if (!holds) throw new Error(words);
};

const SATP = 'urn:ietf:params:satp:core:msgtype:';
const RECOVERY = 'urn:ietf:SATP-2pc:msgtype:';
const NAMES = ['transfer-resume', 'transfer-continue', 'recover', 'recover-update', 'recover-update-ack', 'recover-success'];
const STEPS = ['1.1', '1.2', '1.3', '1.4', '2.2', '2.4', '3.1', '3.3', '3.5', '3.7', '3.9'];
const TYPES = [
  'transfer-proposal', 'proposal-receipt', 'transfer-commence', 'ack-commence', 'lock-assert', 'assertion-receipt',
  'commit-prepare', 'commit-ready', 'commit-final', 'ack-commit-final', 'commit-transfer-complete',
];
// The claim of a message; the action that its receipt shows, the step of that, and the step that it builds on.
const CLAIMS = {
  2.2: ['lockAssertionClaim', 'lock', '2.1'],
  3.3: ['mintAssertionClaim', 'mint', '3.2'],
  3.5: ['burnAssertionClaim', 'burn', '3.4', '2.1'],
  3.7: ['assignmentAssertionClaim', 'assign', '3.6', '3.2'],
};

async function readRing(keys) {
  const ring = {};
  for (const [name, jwk] of Object.entries(keys)) {
    ring[await calculateJwkThumbprint(jwk)] = { name, key: await importJWK(jwk, 'ES256') };
  }
  return ring;
}

async function verifyMessage(ring, compact) {
  const known = ring[decodeProtectedHeader(compact).kid];
  insist(known, 'the kid names no known key');
  const { payload: bytes } = await compactVerify(compact, known.key, { algorithms: ['ES256'] });
  const payload = JSON.parse(Buffer.from(bytes).toString());
  insist(Buffer.from(canonicalize(payload)).equals(bytes), 'the payload is not canonical');
  return { signer: known.name, payload, digest: sha256(bytes) };
}

/** Messages of a transfer from its proposal on; their digests. */
async function verifyTransfer(messages, gateways, networks) {
  const digests = [];
  const operations = {};
  let first;
  for (const [place, compact] of messages.entries()) {
    const { signer, payload, digest } = await verifyMessage(gateways, compact);
    first ??= payload;
    const claim = first.transferInitClaim;
    const sides = [claim.senderGatewayId, claim.recipientGatewayId];
    const own = [claim.senderGatewayNetworkId, claim.recipientGatewayNetworkId];
    const side = place % 2; // they take turns
    insist(payload.messageType === `${SATP}${TYPES[place]}-msg`, `message ${place + 1} is of another type`);
    insist(signer === sides[side], 'it is signed by the other gateway');
    insist(payload.sessionId === first.sessionId, 'it is of another session');
    insist(payload.transferContextId === first.transferContextId, 'it is of another context');
    if (place > 0) insist(payload.hashPrevMessage === digests[place - 1], 'it does not follow');
    if (place === 1 || place === 2) {
      insist(payload.hashTransferInitClaim === sha256(canonicalize(claim)), 'it is about another claim');
    }
    if (place === 10) insist(payload.hashTransferCommence === digests[2], 'it ends another transfer');
    if (CLAIMS[STEPS[place]]) {
      const [field, action, step, under] = CLAIMS[STEPS[place]];
      const receipt = await verifyMessage(networks, payload[field].receipt);
      const expected = {
        networkId: own[side], action, operationId: `${first.sessionId}/${step}`, sessionId: first.sessionId,
        assetId: claim.digitalAssetId, gateway: signer, peer: sides[1 - side],
        beneficiary: claim.verifiedBeneficiaryEntityId, ...(under && { under: operations[under] }),
      };
      insist(receipt.signer === own[side], 'the receipt is signed by another network');
      for (const [name, value] of Object.entries(expected)) {
        insist(receipt.payload[name] === value, `${name} of the receipt does not fit`);
      }
      operations[step] = receipt.payload.operationId;
      const expiry = receipt.payload.expiry ?? '9999-12-31T23:59:59Z';
      if (action === 'lock') insist(payload.lockAssertionExpiration === expiry, 'the expiration is not the receipt\'s');
    }
    digests.push(digest);
  }
  return digests;
}

/** The six messages of a recovery: what each says of whom, what it cites, and that both have one chain at the end. */
async function verifyRecovery({ before, recovery }, { messages }, gateways, networks) {
  const said = [];
  for (const name of recovery) said.push(await verifyMessage(gateways, messages[name]));
  const payloads = said.map((each) => each.payload);
  const [resume, go, recover, update, ack, success] = payloads;
  payloads.forEach((each, place) => insist(each.messageType === `${RECOVERY}${NAMES[place]}-msg`, 'out of order'));
  const cited = [go.hashPrevMessage, recover.hashPrevMessage, update.hashRecoverMessage];
  cited.push(ack.hashRecoverUpdateMessage, success.hashRecoverUpdateAckMessage);
  cited.forEach((hash, place) => insist(hash === said[place].digest, `${NAMES[place + 1]} answers something else`));
  const [back, there] = [resume.gatewayId, resume.peerId];
  said.forEach((each, place) => insist(each.signer === (place % 2 ? there : back), 'it was the turn of the other one'));
  insist(go.gatewayId === there && go.nonce === resume.nonce, 'an answer to another offer');
  const role = (gateway) => ['sender', 'recipient'][before.gateways.indexOf(gateway)];
  const chainOf = (gateway) => before[role(gateway)].map((name) => messages[name]);
  const digestsOf = (chain) => verifyTransfer(chain, gateways, networks);
  const [left, kept] = [await digestsOf(chainOf(back)), await digestsOf(chainOf(there))];
  const find = (offer) => [...offer.sessions, ...(offer.notNamed ?? [])].filter((each) => each.sessionId === before.sessionId);
  const stands = (position, chain) => position.messages === chain.length && position.headHash === chain.at(-1);
  for (const each of [...find(resume), recover.position]) insist(stands(each, left), 'it does not stand there');
  for (const each of [...find(go), update.position]) insist(stands(each, kept), 'the other does not stand there');
  const grow = async (gateway, digests, logs) => {
    const shown = await Promise.all(logs.map(async (each) => (await verifyMessage(gateways, each)).digest));
    return digestsOf([...chainOf(gateway), ...logs.filter((_, place) => !digests.includes(shown[place]))]);
  };
  const mine = await grow(back, left, update.recoveredLogs);
  const theirs = await grow(there, kept, ack.recoveredLogs);
  insist(mine.includes(update.position.headHash), 'it does not lead to the head that was named');
  insist(canonicalize(mine) === canonicalize(theirs), 'the chains are not equal');
  insist(ack.entriesChanged.length === mine.length - left.length, 'other entries were changed');
  insist(success.entriesChanged.length === theirs.length - kept.length, 'other entries were changed there');
  return { recovered: { [role(back)]: mine.slice(left.length), [role(there)]: theirs.slice(kept.length) }, head: mine.at(-1) };
}

const open = async (family) => {
  const { shared, cases } = JSON.parse(readFileSync(new URL(`../vectors/${family}.json`, import.meta.url), 'utf8'));
  const keys = Object.entries(shared.gateways).map(([name, { key }]) => [name, key]);
  return [shared, cases, await readRing(Object.fromEntries(keys)), await readRing(shared.networks)];
};

const [shared, cases, ...rings] = await open('transfers');
for (const { name, input, expect } of cases.filter((each) => each.expect?.isComplete)) {
  const digests = await verifyTransfer(input.messages.map((each) => shared.messages[each]), ...rings);
  insist(canonicalize(digests) === canonicalize(expect.digests), 'other digests are expected');
  console.log(`transfer ${name}: ${digests.length} messages, head ${digests.at(-1)}`);
}
const [said, recoveries, ...theirs] = await open('recoveries');
for (const { name, input, expect } of recoveries.filter((each) => each.expect?.sameHead && each.input.recovery.length === 6)) {
  const { recovered, head } = await verifyRecovery(input, said, ...theirs);
  insist(canonicalize(recovered) === canonicalize(expect.recovered) && head === expect.heads.sender, 'another end is expected');
  console.log(`recovery ${name}: ${Object.values(recovered).flat().length} messages came back, head ${head}`);
}
