// A transfer as a witness reads it who has the keys: signatures, the chain, the claim, the networks' receipts.

import { Refusal, digest } from './canonical.mjs';
import { GENERAL, STEPS, findCode, findStep, verifyForm } from './forms.mjs';
import { BadJws, readKey, readRing, verify } from './jws.mjs';

const NEVER = '9999-12-31T23:59:59Z'; // the expiration of a lock without a time
const SHORTEST_LOCK = 30; // seconds
const OWN_KEY = 'the own key is no peer\'s';

// Step of the message: the field of its claim, the action that the receipt inside shows, and that action's step.
const CLAIMS = {
  2.2: ['lockAssertionClaim', 'lock', '2.1'],
  3.3: ['mintAssertionClaim', 'mint', '3.2'],
  3.5: ['burnAssertionClaim', 'burn', '3.4', '2.1'],
  3.7: ['assignmentAssertionClaim', 'assign', '3.6', '3.2'],
};
const FORMATS = { 3.3: 'mintAssertionFormat' };

/** The messages of one transfer, read in order with the keys of gateways and networks. */
export class Transfer {
  static async open(shared) {
    const gateways = Object.fromEntries(Object.entries(shared.gateways).map(([name, each]) => [name, each.key]));
    const opened = { shared, ring: await readRing(gateways), networks: await readRing(shared.networks) };
    return Object.assign(new Transfer(), opened, { digests: [], receipts: {} });
  }

  /** Signature and form of a message, and its row of TABLE 1. */
  async readMessage(compact, reader) {
    const signed = await verify(this.ring, compact);
    if (signed.signer === reader) throw new BadJws('signature', OWN_KEY);
    verifyForm(signed.payload);
    const row = findStep(signed.payload);
    if (!row) throw new Refusal('this message is no step of a transfer', GENERAL);
    return { row, signed };
  }

  /** The next message, as somebody reads it who is no party. */
  async take(compact) {
    const { row, signed } = await this.readMessage(compact);
    if (this.digests.length) {
      const { senderGatewayId, recipientGatewayId } = this.claim;
      const isSenders = row.author === 'sender';
      const [author, reader] = isSenders ? [senderGatewayId, recipientGatewayId] : [recipientGatewayId, senderGatewayId];
      if (signed.signer === reader) throw new BadJws('signature', OWN_KEY);
      await verifyNext(this, row, signed, author);
    } else {
      if (row.step !== '1.1') throw new Refusal('unknown session', findCode(row.step, 'sessionId'));
      await verifyProposal(this, signed);
      Object.assign(this, { proposal: signed.payload, claim: signed.payload.transferInitClaim });
    }
    this.digests.push(signed.digest);
  }
}

/** `input.messages` are names in `shared.messages`; the last one is refused, or all are good. */
export async function verifyTransfer(input, shared) {
  const transfer = await Transfer.open(shared);
  for (const name of input.messages) await transfer.take(shared.messages[name]);
  const steps = STEPS.slice(0, transfer.digests.length).map((row) => row.step);
  const next = STEPS[steps.length]?.step ?? null;
  const [head] = transfer.digests.slice(-1);
  return { steps, digests: transfer.digests, head, stage: Number(steps.at(-1)[0]), next, isComplete: next === null };
}

/** `input.message` arrives at a gateway at a time, after others by their names in `shared.messages`. */
export async function receiveMessage(input, shared) {
  const transfer = await Transfer.open(shared);
  for (const name of input.after) await transfer.take(shared.messages[name]);
  const { row, signed } = await transfer.readMessage(input.message, input.gateway);
  const { claim } = transfer;
  const isKnown = claim && transfer.proposal.sessionId === signed.payload.sessionId;
  if (row.step === '1.1') {
    if (isKnown) throw new Refusal('the session exists', findCode('1.1', 'sessionId'));
    await verifyProposal(transfer, signed, input.gateway);
  } else {
    if (!isKnown) throw new Refusal('unknown session', findCode(row.step, 'sessionId'));
    const peer = claim.senderGatewayId === input.gateway ? claim.recipientGatewayId : claim.senderGatewayId;
    await verifyNext(transfer, row, signed, peer, input.at);
  }
  return { step: row.step, digest: signed.digest };
}

/** The proposal: it names both gateways and their keys. `reader` is who got it, if somebody in particular did. */
async function verifyProposal({ shared }, signed, reader) {
  const { version, transferInitClaim: claim, gatewayAndNetworkCapabilities: able } = signed.payload;
  const recipient = shared.gateways[claim.recipientGatewayId];
  const insist = (name, holds) => {
    if (!holds) throw new Refusal(`invalid ${name}`, findCode('1.1', name));
  };
  insist('recipientGatewayId', recipient && (!reader || reader === claim.recipientGatewayId));
  const kids = {};
  for (const name of Object.keys(claim).filter((each) => /^(originator|beneficiary|.*Signature)PublicKey$/.test(each))) {
    const key = await readKey(claim[name]).catch(() => null);
    insist(name, key);
    kids[name] = key.kid;
  }
  insist('version', version === '1.0');
  insist('senderGatewayId', claim.senderGatewayId === signed.signer);
  insist('recipientGatewayNetworkId', claim.recipientGatewayNetworkId === recipient.network);
  insist('senderGatewaySignaturePublicKey', kids.senderGatewaySignaturePublicKey === signed.kid);
  const expected = (await readKey(recipient.key)).kid;
  insist('receiverGatewaySignaturePublicKey', kids.receiverGatewaySignaturePublicKey === expected);
  insist('gatewayDefaultSignatureAlgorithm', able.gatewayDefaultSignatureAlgorithm === 'ES256');
  insist('gatewayTlsScheme', able.gatewayTlsScheme === 'TLS_AES_128_GCM_SHA256');
  const shortest = Math.min(able.networkLockExpirationTime, claim.assetLockExpirationTime ?? Infinity);
  insist('networkLockExpirationTime', claim.networkLockType === 'HASH_LOCK' || shortest >= SHORTEST_LOCK);
}

/** Any later message: of this author, at its place, bound to what came before; and its lock not over, `at` a time. */
async function verifyNext(transfer, row, signed, author, at = '') {
  const { payload } = signed;
  const { proposal, claim, digests } = transfer;
  const mismatch = (name) => new Refusal(`mismatch ${name}`, findCode(row.step, name));
  if (row.step === '1.1' || payload.sessionId !== proposal.sessionId) throw mismatch('sessionId');
  if (signed.signer !== author) throw new Refusal(`${signed.signer} does not say this`, 'err_0.1.2');
  const expected = { transferContextId: proposal.transferContextId, hashPrevMessage: digests.at(-1) };
  if (row.step === '1.2') expected.version = '1.0';
  if (row.step === '1.2' || row.step === '1.3') expected.hashTransferInitClaim = digest(claim);
  if (row.step === '3.9') expected.hashTransferCommence = digests[2];
  for (const [name, value] of Object.entries(expected)) if (payload[name] !== value) throw mismatch(name);
  if (row !== STEPS[digests.length]) throw new Refusal(`step ${row.step} does not come next`, GENERAL);
  if (CLAIMS[row.step]) await verifyReceipt(transfer, row, payload);
  if (row.step === '2.2' && payload.lockAssertionExpiration <= at) throw new Refusal('the lock is over', 'err_2.2.9');
}

/** The receipt inside an assertion: signed by the author's network, about this session, asset and action. */
async function verifyReceipt(transfer, row, payload) {
  const { claim, proposal, receipts, networks } = transfer;
  const [field, action, step, builtOn] = CLAIMS[row.step];
  const code = findCode(row.step, FORMATS[row.step] ?? `${field}Format`);
  const isSender = row.author === 'sender';
  const network = isSender ? claim.senderGatewayNetworkId : claim.recipientGatewayNetworkId;
  const [gateway, peer] = isSender
    ? [claim.senderGatewayId, claim.recipientGatewayId]
    : [claim.recipientGatewayId, claim.senderGatewayId];
  const signed = await verify(networks, payload[field].receipt).catch((error) => {
    throw new Refusal(`receipt: ${error.message}`, code);
  });
  if (signed.signer !== network) throw new Refusal('the receipt is signed by another network', code);
  const expected = {
    networkId: network, operationId: `${proposal.sessionId}/${step}`, sessionId: proposal.sessionId, action,
    assetId: claim.digitalAssetId, gateway, peer, beneficiary: claim.verifiedBeneficiaryEntityId,
  };
  if (builtOn) expected.under = receipts[builtOn].operationId;
  for (const [name, value] of Object.entries(expected)) {
    if (signed.payload[name] === value) continue;
    const isAsset = row.step === '2.2' && name === 'assetId';
    throw new Refusal(`receipt.${name} does not fit`, isAsset ? 'err_2.2.7' : code);
  }
  receipts[step] = signed.payload;
  if (row.step === '2.2' && payload.lockAssertionExpiration !== (signed.payload.expiry ?? NEVER)) {
    throw new Refusal('the expiration is not the receipt\'s', findCode('2.2', 'lockAssertionExpiration'));
  }
}
