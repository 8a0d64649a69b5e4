/** As long as the newer Events API allows. */
const longest = 1024;
// eslint-disable-next-line no-control-regex -- they are what is looked for
const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/**
 * A text as it may be told to people through Events, conditions and status: parts of it come from drivers, tools and whoever wrote a
 * class or an annotation. It has an end, is one line, moves no terminal's cursor, and every JSON parser takes it.
 */
export function toldText(text: string, most: number = longest): string {
  const cut = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  const line = cut.replace(/\s*[\r\n]+\s*/g, ' ').replace(control, visible);
  return (line.length > most ? `${line.slice(0, most - 1)}…` : line).toWellFormed();
}

function visible(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
