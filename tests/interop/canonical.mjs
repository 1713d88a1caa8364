// Canonical bytes (RFC 8785) and digests (SHA-256, small hexadecimal letters). The form is npm's `canonicalize`.

import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';

/** What must be refused. `code` is the documents' code, "" where they have none. */
export class Refusal extends Error {
  constructor(reason, code = '') {
    super(reason);
    this.code = code;
  }
}

let write = canonicalize;

/** Another way to write, in place of RFC 8785, to see that it does not do. */
export function useCanonicaliser(other) {
  write = other;
}

/** The canonical text of a value. */
export function canonical(value) {
  try {
    return write(value);
  } catch (error) {
    throw new Refusal(`no canonical form: ${error.message}`);
  }
}

/** SHA-256 of text, of bytes, or of the canonical text of any other value. */
export function digest(value) {
  const isPlain = typeof value === 'string' || value instanceof Uint8Array;
  return createHash('sha256').update(isPlain ? value : canonical(value)).digest('hex');
}

/** Bytes as JSON, or a SyntaxError or TypeError. No replacement characters: bytes that are not UTF-8 are no JSON. */
export function parse(bytes) {
  return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
}

export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** base64url without padding (RFC 7515 2), or null for any other text. */
export function decode(text) {
  if (!/^[\w-]*$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}
