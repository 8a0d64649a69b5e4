import { StorageError } from '../../model/errors.ts';

const prefix = 'after:';

/** A page token: the last id given out, so that what comes or goes between two pages neither repeats nor hides others. */
export function makeToken(id: string): string {
  return Buffer.from(`${prefix}${id}`).toString('base64url');
}

/** The id that a token names; '' for the first page. @throws StorageError 'bad-token' */
export function readToken(token: string, isId: (text: string) => boolean): string {
  if (token === '') return '';
  const text = Buffer.from(token, 'base64url').toString();
  const id = text.slice(prefix.length);
  if (!text.startsWith(prefix) || makeToken(id) !== token || !isId(id)) {
    throw new StorageError(
      'bad-token',
      `page token ${JSON.stringify(token.slice(0, 80))} was not given out here; start over`,
    );
  }
  return id;
}
