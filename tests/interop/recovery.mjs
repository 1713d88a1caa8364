// One message of a recovery (RECOVERY 5.3) at a gateway of which its state tells all that is needed to judge it.

import { Refusal, parse } from './canonical.mjs';
import { readCertificate } from './certificates.mjs';
import { GENERAL, verifyForm } from './forms.mjs';
import { BadJws, readKey, split, verify } from './jws.mjs';
import { Transfer } from './transfer.mjs';

const TYPE = /^urn:ietf:SATP-2pc:msgtype:(.+)-msg$/;
const LINKS = {
  'transfer-continue': 'hashPrevMessage',
  recover: 'hashPrevMessage',
  'recover-update': 'hashRecoverMessage',
  'recover-update-ack': 'hashRecoverUpdateMessage',
  'recover-success': 'hashRecoverUpdateAckMessage',
  rollback: 'hashPrevMessage',
  'rollback-ack': 'hashPrevMessage',
};
const refuse = (words, code = GENERAL) => {
  throw new Refusal(words, code);
};

/** What can be judged only in part: `why` in words; `output` is what was seen, if all that was asked fits. */
export class InPart extends Error {
  constructor(why, output) {
    super(why);
    this.output = output;
  }
}

/** The receiver as its state shows it: the transfer so far, its own id and its peer's. */
async function readState(input, shared) {
  const state = shared.states[input.state];
  const { transferInitClaim: claim } = parse(split(state.chain[0]).payload);
  const networks = { [claim.senderGatewayId]: claim.senderGatewayNetworkId, [claim.recipientGatewayId]: claim.recipientGatewayNetworkId };
  const gateways = Object.fromEntries(
    Object.entries(shared.gateways).map(([name, { key }]) => [name, { key, network: networks[name] }]),
  );
  const transfer = await Transfer.open({ gateways, networks: shared.networks });
  for (const compact of state.chain) await transfer.take(compact);
  const sides = [claim.senderGatewayId, claim.recipientGatewayId];
  const [own, peer] = input.to === 'sender' ? sides : sides.reverse();
  return { state, transfer, own, peer, next: parse(split(state.next).payload), to: input.to };
}

export async function receiveRecovery(input, shared) {
  const receiver = await readState(input, shared);
  const { payload, signer, kid } = await verifySigned(input.message, receiver);
  const [, name] = TYPE.exec(payload.messageType ?? '') ?? [];
  if (!name) refuse('no message of a recovery');
  verifyForm(payload);
  const shown = payload.newIdentityPublicKey && (await readKey(payload.newIdentityPublicKey).catch(() => refuse('no public key')));
  verifyParties(name, payload, signer, receiver);
  if (shown && shown.kid !== kid) refuse('another key has signed', 'err_0.1.3');
  if (payload.certificate) {
    const certificate = await readCertificate(payload.certificate);
    if (certificate.gateway !== signer || certificate.kid !== kid) refuse('a certificate of another', 'err_0.1.3');
  }
  const log = { recover: 'open', 'rollback-ack': 'left' }[input.state] ?? (input.to === 'recipient' ? 'prepared' : 'open');
  const silent = { answer: 'nothing', log };
  if (name.startsWith('rollback') && payload.sessionId !== receiver.transfer.proposal.sessionId) return silent;
  verifySession(name, payload, receiver);
  const link = LINKS[name];
  const isAnswer = link === undefined || payload[link] === receiver.next[link];
  if (name === 'transfer-continue' && (!isAnswer || payload.nonce !== receiver.next.nonce)) return silent;
  if (!isAnswer) refuse(`${link} names another message`);
  if (name === 'recover-update' && !(await takeLogs(payload, receiver))) return { answer: 'recover-dispute', log: 'frozen' };
  if (name === 'rollback') await verifyProofs(payload, receiver);
  throw new InPart('it takes a gateway in the middle of a recovery to answer a good message');
}

/** The signature, by a known key that is not the receiver's own. */
async function verifySigned(compact, { transfer, own }) {
  try {
    const signed = await verify(transfer.ring, compact);
    if (signed.signer === own) throw new BadJws('signature', 'the own key is no peer\'s');
    return signed;
  } catch (error) {
    if (error instanceof BadJws && error.kind === 'signature' && split(compact).payload.includes('"certificate":')) {
      throw new InPart('the owners are not shared, so a certificate for a new key cannot be verified');
    }
    throw error;
  }
}

function verifyParties(name, payload, signer, { own, peer }) {
  const isOffer = name === 'transfer-resume' || name === 'transfer-continue';
  if (isOffer && payload.gatewayId !== signer) refuse('in the name of another gateway', 'err_0.1.2');
  if (name === 'transfer-resume' && payload.peerId !== own) refuse('for another gateway', 'err_0.1.2');
  if (signer !== peer) refuse('not the other gateway of the session', 'err_0.1.2');
}

function verifySession(name, payload, { transfer, to }) {
  const { sessionId, transferContextId } = transfer.proposal;
  if (name.startsWith('transfer-')) return;
  if (payload.sessionId !== sessionId) refuse('no such session');
  if ((payload.contextId ?? transferContextId) !== transferContextId) refuse('another context');
  const { position } = payload;
  if (!position) return;
  if (position.sessionId !== sessionId || position.role === to) refuse('a position that the peer cannot have');
  if (position.messages > 0 !== 'headHash' in position) refuse('a head exactly if there are messages');
}

/** Whether the messages that come back go on where the receiver's chain ends, up to the head of the position. */
async function takeLogs({ recoveredLogs, position }, { transfer }) {
  try {
    for (const compact of recoveredLogs) await transfer.take(compact);
    return transfer.digests.at(-1) === position.headHash;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

/** A recipient that is prepared believes the receipt alone that ended the lock. */
async function verifyProofs({ proofs }, { transfer, to, own, peer }) {
  if (to !== 'recipient' || transfer.digests.length < 8) return;
  const { claim, networks, receipts } = transfer;
  for (const proof of proofs) {
    const { signer, payload } = await verify(networks, proof).catch(() => refuse('no receipt of a network'));
    if (signer !== claim.senderGatewayNetworkId) refuse('a receipt of another network');
    const isEnd = ['unlock', 'expire'].includes(payload.action) && payload.under === receipts['2.1'].operationId;
    if (isEnd && payload.gateway === peer && payload.peer === own) return;
  }
  refuse('nothing shows that the lock has ended');
}
