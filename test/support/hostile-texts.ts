import * as fc from 'fast-check';

const half = '\ud800';

/** Texts that somebody sends who means no good, or whose program has gone wrong. */
export const hostileTexts: readonly string[] = [
  '',
  '.',
  '..',
  '/',
  '../outside',
  '../../outside/canary',
  '../../../../../../../../etc/passwd',
  '..%2f..%2foutside',
  'pvc-1/../../../outside',
  'data/../../../outside/canary',
  '/etc/passwd',
  '/proc/self/root/etc',
  '/dev/null',
  '\\..\\..\\outside',
  'a/b',
  'a\0b',
  '\0',
  'line\nbreak level=error msg="forged"',
  '\u001b[2J\u001b]0;title\u0007',
  '\r\n\t\v\f\b\u007f\u0085\u009f',
  '\u202egnp.exe\u2066',
  '\ufeff\u200b',
  half,
  `a${half}/..`,
  '👩‍👩‍👧‍👦 \u0301 ﷽ Å',
  'İıſK',
  'x'.repeat(129),
  'x'.repeat(4096),
  `${'y'.repeat(2047)}😀`,
  '../'.repeat(2000),
  'x'.repeat(100_000),
  '{"uuid": "x", "paths": ["/"]}',
  '__proto__',
  'constructor',
  'toString',
  '$(touch outside/owned)',
  '`touch outside/owned`',
  '; rm -rf outside;',
  '| tee outside/owned',
  '-rf',
  '--help',
  '--bind,exec,dev,suid',
  '*',
  '~root',
  '%s%s%n%x',
  '{{.Name}}/${HOME}',
  '-1',
  '1e400',
  '0x7fffffffffffffffff',
  '99999999999999999999999999',
  'NaN',
  'true',
  'null',
  'ro,dev,suid,exec',
  '.tmp-0123456789',
  'pool.json',
  'volume.json',
];

/** One of them, pieces of them, or any text at all. */
export const hostileText: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...hostileTexts),
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc
    .array(fc.constantFrom('..', '/', '.', '\0', '\n', 'a', '-', 'pvc', half, '%', '$', ' '), {
      maxLength: 12,
    })
    .map((parts) => parts.join('')),
);

/** Characters that forge lines of a log or move a terminal's cursor. */
// eslint-disable-next-line no-control-regex -- they are what is looked for
export const controlCharacters = /[\u0000-\u001f\u007f-\u009f]/;
