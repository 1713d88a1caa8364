// The operations of tests/vectors/README.md that are done here: input and shared in, output out.

import { Refusal, canonical, digest } from './canonical.mjs';
import { verifyBackup, verifyCertificate } from './certificates.mjs';
import { verifyForm } from './forms.mjs';
import { BadJws, readKey, readRing, sign, split, verify } from './jws.mjs';
import { verifyLog } from './log.mjs';
import { verifyRecovery } from './recoveries.mjs';
import { InPart, receiveRecovery } from './recovery.mjs';
import { receiveMessage, verifyTransfer } from './transfer.mjs';

async function canonicalize(input) {
  let value;
  try {
    value = JSON.parse(input.json);
  } catch (error) {
    throw new Refusal(error.message);
  }
  const text = canonical(value);
  return { text, digest: digest(text) };
}

async function computeThumbprint(input) {
  const { kid, keyHash } = await readKey(input.jwk);
  return keyHash ? { thumbprint: kid, keyHash } : { thumbprint: kid };
}

async function signMessage(input) {
  return { message: await sign(input.key, input.payload, input.header) };
}

const describe = ({ signer, header, payload, digest: hash }) => ({ signer, header, payload, digest: hash });

async function verifyMessage(input, shared) {
  const signed = await verify(await readRing(shared.keys), input.message);
  verifyForm(signed.payload);
  return describe(signed);
}

const LIP_1 = { malformed: 'invalid_jws', signature: 'invalid_jws_signature', json: 'invalid_json', object: 'invalid_object' };

/** The signature and the bytes of a message of LIP-1, and whether a response names its request. */
async function verifyOffchain(input, shared) {
  const ring = await readRing(shared.keys);
  const signed = await verify(ring, input.message).catch((error) => {
    throw error instanceof BadJws ? new Refusal(error.message, LIP_1[error.kind]) : error;
  });
  if (input.request && signed.header.request_digest !== digest(split(input.request).payload)) {
    throw new Refusal('the response answers another request');
  }
  throw new InPart('the fields of the objects of LIP-1 are not looked at', describe(signed));
}

export const OPERATIONS = {
  canonicalize,
  'compute-thumbprint': computeThumbprint,
  'sign-message': signMessage,
  'verify-message': verifyMessage,
  'verify-offchain': verifyOffchain,
  'verify-certificate': verifyCertificate,
  'verify-backup': verifyBackup,
  'receive-recovery': receiveRecovery,
  'verify-recovery': verifyRecovery,
  'receive-message': receiveMessage,
  'verify-transfer': verifyTransfer,
  'verify-log': verifyLog,
};
