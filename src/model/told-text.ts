/** As long as the newer Events API allows, in bytes of UTF-8. */
const mostBytes = 1024;
/** Of the end, which says what can be done. */
const tailBytes = 320;
const gap = ' … ';
/** What is far longer is not looked through. */
const mostRead = 16 * mostBytes;
/** What moves a terminal's cursor, ends a line or turns the direction of what follows. */
// eslint-disable-next-line no-control-regex -- they are what is looked for
export const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/**
 * A text as it may be told to people through Events, conditions and status: parts of it come from drivers, tools and whoever wrote a
 * class or an annotation. It is one line, moves no terminal's cursor, and every JSON parser takes it. Of one that is too long, as the
 * longest names make it, beginning and end stay: what it is about and what to do. Told again it is the same.
 */
export function toldText(text: string): string {
  const read = text.length > mostRead ? text.slice(0, mostRead / 2) + text.slice(-mostRead / 2) : text;
  const line = read
    .replace(/\s*[\r\n]+\s*/g, ' ')
    .replace(control, visible)
    .toWellFormed();
  const bytes = Buffer.from(line);
  if (bytes.length <= mostBytes) return line;
  const headEnd = startOfCharacter(bytes, mostBytes - tailBytes - Buffer.byteLength(gap));
  const tailStart = startOfCharacter(bytes, bytes.length - tailBytes + 3);
  return `${bytes.toString('utf8', 0, headEnd)}${gap}${bytes.toString('utf8', tailStart)}`;
}

/** Where the character begins that has this byte. */
function startOfCharacter(bytes: Buffer, at: number): number {
  let start = at;
  while (start > 0 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start -= 1;
  return start;
}

/** What tells a terminal nothing, whatever is in it: all but the ends of lines is spelled out, in JSON to the same meaning. */
export function shownText(text: string): string {
  return text.replace(control, (character) => (character === '\n' ? character : visible(character)));
}

function visible(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
