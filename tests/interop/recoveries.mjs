// A whole recovery of one session, as a witness reads it who has the keys and both chains (RECOVERY 5.3, TABLE 2).

import { readFileSync } from 'node:fs';
import { Refusal } from './canonical.mjs';
import { GENERAL, verifyForm } from './forms.mjs';
import { BadJws, verify } from './jws.mjs';
import { Transfer } from './transfer.mjs';

const ROLES = ['sender', 'recipient'];
const FOLLOWS = {
  'transfer-resume': ['transfer-continue'],
  'transfer-continue': ['recover', 'rollback'],
  recover: ['recover-update'],
  'recover-update': ['recover-update-ack'],
  'recover-update-ack': ['recover-success'],
  rollback: ['rollback-ack'],
};
const LINKS = {
  'transfer-continue': 'hashPrevMessage',
  recover: 'hashPrevMessage',
  'recover-update': 'hashRecoverMessage',
  'recover-update-ack': 'hashRecoverUpdateMessage',
  'recover-success': 'hashRecoverUpdateAckMessage',
  'rollback-ack': 'hashPrevMessage',
};
const ENDS = { sender: ['unlock', 'expire'], recipient: ['destroy'] };
const STRANGER = 'err_0.1.2';

const insist = (holds, words, code = GENERAL) => {
  if (!holds) throw new Refusal(words, code);
};

/** TABLE 2, filled from the vectors of its family: facts to letter and verdict. */
function readTable() {
  const { cases } = JSON.parse(readFileSync(new URL('../vectors/recovery-table.json', import.meta.url), 'utf8'));
  const good = cases.filter((each) => each.expect);
  return new Map(good.map(({ input, expect }) => [`${input.log} ${input.ledger} ${input.peer}`, expect]));
}

/** The third fact: where the peer stands, compared with the own chain. */
function compare(digests, position) {
  const { messages: theirs, headHash, log, ledger, role } = position;
  if (log === 'frozen') return 'frozen';
  if (theirs > 0 && theirs <= digests.length && headHash !== digests[theirs - 1]) return 'forked';
  const distance = compareLengths(digests.length, position);
  const isGoing = log === 'left' || (log === 'leaving' && distance !== 'behind' && !(role === 'recipient' && ledger === 'held'));
  return ledger === 'undone' || (isGoing && ledger !== 'final') ? 'left' : distance;
}

function compareLengths(mine, { messages: theirs, role, ledger }) {
  const isPeers = (number) => ROLES[(number + 1) % 2] === role; // they take turns, and the sender begins
  if (mine === theirs && mine > 0) return 'same';
  if (mine === theirs) return role === 'sender' && ledger === 'final' ? 'burned' : 'unknown';
  if (theirs === mine - 1 && !isPeers(mine)) return 'lacks last';
  if (theirs === mine + 1 && isPeers(theirs)) return 'has next';
  return theirs < mine ? 'behind' : 'ahead';
}

class Recovery {
  static async open({ before }, shared) {
    const recovery = Object.assign(new Recovery(), { before, shared, ends: {}, positions: {}, table: readTable() });
    recovery.letters = { sender: '', recipient: '' };
    for (const [place, role] of ROLES.entries()) {
      const chain = await Transfer.open(shared);
      for (const name of before[role]) await chain.take(shared.messages[name]);
      recovery.ends[before.gateways[place]] = { role, chain, recovered: [] };
    }
    return recovery;
  }

  async take(compact) {
    const [{ chain }] = Object.values(this.ends);
    const signed = await verify(chain.ring, compact);
    verifyForm(signed.payload);
    const [, name] = /^urn:ietf:SATP-2pc:msgtype:(.+)-msg$/.exec(signed.payload.messageType) ?? [];
    insist(name, 'no message of a recovery');
    const end = this.ends[signed.signer];
    insist(end, 'neither of the two gateways', STRANGER);
    this.verifyOrder(name, signed);
    const [peer, other] = Object.entries(this.ends).find(([each]) => each !== signed.signer);
    if (name.startsWith('transfer-')) this.takeOffer(name, signed, end, peer, other);
    else await this.takeRest(name, signed, end, other);
    this.last = { name, signed };
  }

  verifyOrder(name, { signer, payload }) {
    if (!this.last) {
      insist(name === 'transfer-resume', 'a recovery begins with an offer');
      return;
    }
    insist(FOLLOWS[this.last.name]?.includes(name), `${name} does not follow ${this.last.name}`);
    insist(signer !== this.last.signed.signer, 'it is the turn of the other one', STRANGER);
    if (LINKS[name]) insist(payload[LINKS[name]] === this.last.signed.digest, `${LINKS[name]} names another message`);
  }

  verifyStands(end, position) {
    const { digests } = end.chain;
    const isRight = position.messages === digests.length && position.headHash === digests.at(-1);
    insist(isRight && position.role === end.role, 'the position is not that of this chain');
  }

  takeOffer(name, { signer, payload }, end, peer, other) {
    insist(payload.gatewayId === signer && (payload.peerId ?? peer) === peer, 'between other gateways', STRANGER);
    const told = [...payload.sessions, ...(payload.notNamed ?? [])];
    const position = told.find((each) => each.sessionId === this.before.sessionId);
    if (position) this.verifyStands(end, position);
    this.positions[end.role] = position;
    if (name === 'transfer-resume') return;
    insist(payload.nonce === this.last.signed.payload.nonce, 'an answer to another offer');
    const offer = this.positions[other.role];
    if (!position || !offer) return;
    const decide = (own, chain, theirs) => this.table.get(`${own.log} ${own.ledger} ${compare(chain.digests, theirs)}`);
    const row = decide(position, end.chain, offer);
    insist(row.letter === position.decidedBy && row.verdict === position.verdict, 'TABLE 2 says something else', '');
    this.letters = { [end.role]: row.letter, [other.role]: decide(offer, other.chain, position).letter };
  }

  async takeRest(name, { payload }, end, other) {
    insist(payload.sessionId === this.before.sessionId, 'of another session');
    if (payload.position) this.verifyStands(end, payload.position);
    if (name === 'recover-update') {
      await this.append(other, payload.recoveredLogs);
      const { headHash } = payload.position;
      insist(headHash === undefined || other.chain.digests.includes(headHash), 'not up to the head that was named', '');
    }
    if ('entriesChanged' in payload) {
      insist(payload.entriesChanged.length === end.recovered.length, 'another number of entries');
    }
    if (name === 'recover-update-ack') await this.append(other, payload.recoveredLogs);
    if ('entriesChanged' in payload) insist(this.hasOneChain(), 'the chains are not equal', '');
    if (name.startsWith('rollback')) await this.verifyProofs(name, payload, end);
  }

  /** Messages that come back: those that are there are passed over. */
  async append({ chain, recovered }, logs) {
    for (const compact of logs) {
      try {
        const { digest } = await verify(chain.ring, compact);
        if (chain.digests.includes(digest)) continue;
        await chain.take(compact);
        recovered.push(digest);
      } catch (error) {
        throw error instanceof Refusal ? new Refusal(`it does not fit: ${error.message}`) : error;
      }
    }
  }

  async verifyProofs(name, { proofs }, { role, chain }) {
    const gateway = this.before.gateways[ROLES.indexOf(role)];
    const actions = [];
    for (const proof of proofs) {
      const signed = await verify(chain.networks, proof).catch((error) => insist(!(error instanceof BadJws), 'no receipt of a network'));
      insist(signed.signer === this.shared.gateways[gateway].network, 'a receipt of another network');
      if (signed.payload.sessionId === this.before.sessionId) actions.push(signed.payload.action);
    }
    insist(name !== 'rollback' || actions.some((each) => ENDS[role].includes(each)), 'nothing shows what was undone');
  }

  hasOneChain() {
    const [one, other] = Object.values(this.ends).map((end) => end.chain.digests.join());
    return one === other;
  }
}

export async function verifyRecovery(input, shared) {
  const recovery = await Recovery.open(input, shared);
  for (const name of input.recovery) await recovery.take(shared.messages[name]);
  const byRole = (look) => Object.fromEntries(Object.values(recovery.ends).map((end) => [end.role, look(end)]));
  return {
    letters: recovery.letters,
    recovered: byRole((end) => end.recovered),
    heads: byRole((end) => end.chain.digests.at(-1) ?? null),
    sameHead: recovery.hasOneChain(),
  };
}
