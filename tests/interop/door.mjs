// The door of tests/vectors/README.md: one JSON request per line in, one JSON answer per line out.
//     python -m tools.run_vectors -- node tests/interop/door.mjs

import { createInterface } from 'node:readline';
import { Refusal } from './canonical.mjs';
import { OPERATIONS } from './operations.mjs';
import { InPart } from './recovery.mjs';

async function answer({ id, operation, input, shared = {} }) {
  if (!Object.hasOwn(OPERATIONS, operation)) return { id, unsupported: true };
  try {
    return { id, output: await OPERATIONS[operation](input, shared) };
  } catch (error) {
    if (error instanceof InPart) return { id, unsupported: true };
    if (error instanceof Refusal) return { id, error: { code: error.code, reason: error.message } };
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
