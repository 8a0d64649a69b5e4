const newline = 0x0a;
/** Far beyond what etcd stores in one object: a longer line is not a watch. */
const longestLineBytes = 64 * 1024 * 1024;

/**
 * The JSON documents of a stream that has one a line, as a watch's answer has.
 *
 * Lines are found in bytes before they become text, so that a chunk may end within a character; the pieces of a long line are joined
 * once. What follows the last newline is the half of a document that the connection did not bring, and is dropped.
 *
 * @throws SyntaxError for a line that is not JSON, RangeError for one without an end
 */
export async function* jsonLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator {
  let pieces: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      pieces.push(chunk.subarray(start, end));
      const line = textOf(pieces);
      pieces = [];
      heldBytes = 0;
      start = end + 1;
      if (line.trim() !== '') yield JSON.parse(line);
    }
    if (start === chunk.length) continue;
    pieces.push(chunk.subarray(start));
    heldBytes += chunk.length - start;
    if (heldBytes > longestLineBytes)
      throw new RangeError(`a watch sent ${heldBytes} bytes without a newline`);
  }
}

function textOf(pieces: readonly Uint8Array[]): string {
  const [only] = pieces;
  const bytes =
    pieces.length === 1 && only !== undefined
      ? Buffer.from(only.buffer, only.byteOffset, only.length)
      : Buffer.concat(pieces);
  return bytes.toString('utf8');
}
