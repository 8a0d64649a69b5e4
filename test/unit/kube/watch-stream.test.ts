import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonLines } from '../../../src/kube/watch-stream.ts';

describe('the documents of a watch', () => {
  it('are the same however the stream is cut, within characters too', async () => {
    const document = fc.record({ name: fc.string({ unit: 'grapheme' }), n: fc.integer() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(document),
        fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
        async (documents, sizes) => {
          const bytes = Buffer.from(documents.map((one) => `${JSON.stringify(one)}\n`).join(''));
          expect(await read(cut(bytes, sizes))).toEqual(documents);
        },
      ),
    );
  });

  it('may be of many megabytes', async () => {
    const documents = [{ text: 'ü'.repeat(3_000_000) }, { text: 'after' }];
    const bytes = Buffer.from(documents.map((one) => `${JSON.stringify(one)}\n`).join(''));
    expect(await read(cut(bytes, repeated(16_384)))).toEqual(documents);
  });

  it('leave out empty lines and the half of one at the end', async () => {
    expect(await read(cut(Buffer.from('{"a":1}\n\n{"b":2}\n{"c"'), repeated(3)))).toEqual([
      { a: 1 },
      { b: 2 },
    ]);
  });

  it('are refused where a line is not JSON', async () => {
    await expect(read(cut(Buffer.from('<html>\n'), repeated(100)))).rejects.toThrow(SyntaxError);
  });
});

async function read(chunks: AsyncIterable<Uint8Array>): Promise<unknown[]> {
  const documents: unknown[] = [];
  for await (const document of jsonLines(chunks)) documents.push(document);
  return documents;
}

async function* cut(bytes: Uint8Array, sizes: Iterator<number>): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length;) {
    const size = Number(sizes.next().value);
    // a copy: the reader must not depend on what lies beside a chunk
    yield Uint8Array.from(bytes.subarray(start, start + size));
    start += size;
  }
}

function* repeated(size: number): Generator<number> {
  for (;;) yield size;
}
