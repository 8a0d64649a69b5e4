import { StorageError } from '../../model/errors.ts';
import { maxInt64 } from '../../model/quantity.ts';
import { isVolumeId, type VolumeId } from '../../model/volume-id.ts';

// oxlint-disable-next-line no-control-regex -- these are what is refused
const plainName = /^[^./\u0000-\u001f\u007f\ufffd][^/\u0000-\u001f\u007f\ufffd]*$/;

/**
 * Reads typed fields out of a JSON file of ours. Unknown fields are passed over, so that an older version can read
 * what a newer one wrote; a missing or misshapen one is damage.
 *
 * Every method throws StorageError 'data-loss' naming the file and the field.
 */
export class FieldReader {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #prefix: string;

  private constructor(value: unknown, path: string, prefix: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new StorageError(
        'data-loss',
        `${path}: ${prefix === '' ? 'the file' : prefix} is no JSON object`,
      );
    }
    this.#fields = value as Record<string, unknown>; // just checked
    this.#path = path;
    this.#prefix = prefix;
  }

  static ofJson(text: string, path: string): FieldReader {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      const what = text.trim() === '' ? 'is empty' : 'is not JSON';
      throw new StorageError('data-loss', `${path} ${what}; restore it from a backup or mend it by hand`, {
        cause: error,
      });
    }
    return new FieldReader(value, path, '');
  }

  /** The same of a record, whose schema this version has to know. */
  static ofRecord(text: string, path: string): FieldReader {
    const fields = FieldReader.ofJson(text, path);
    const schema = fields.number('schema');
    if (schema === 1) return fields;
    throw new StorageError(
      'data-loss',
      `record ${path} has schema ${schema}, this version reads 1; upgrade loam`,
    );
  }

  text(name: string): string {
    const value = this.#get(name);
    if (typeof value !== 'string' || value === '') throw this.#broken(name, 'a text');
    return value;
  }

  /** One path component that is not hidden, for people to read. */
  plainName(name: string): string {
    const value = this.text(name);
    if (!plainName.test(value) || Buffer.byteLength(value) > 255) throw this.#broken(name, 'one plain name');
    return value;
  }

  optionalText(name: string): string | undefined {
    return this.#get(name) === undefined ? undefined : this.text(name);
  }

  number(name: string): number {
    const value = this.#get(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      throw this.#broken(name, 'a whole number');
    }
    return value;
  }

  optionalNumber(name: string): number | undefined {
    return this.#get(name) === undefined ? undefined : this.number(name);
  }

  truth(name: string): boolean {
    const value = this.#get(name);
    if (typeof value !== 'boolean') throw this.#broken(name, 'true or false');
    return value;
  }

  optionalTruth(name: string): boolean | undefined {
    return this.#get(name) === undefined ? undefined : this.truth(name);
  }

  bytes(name: string): bigint {
    const value = this.#get(name);
    if (typeof value !== 'string' || !/^\d{1,19}$/.test(value) || BigInt(value) > maxInt64) {
      throw this.#broken(name, 'a number of bytes as text');
    }
    return BigInt(value);
  }

  optionalOctal(name: string): number | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'string' || !/^[0-7]{1,5}$/.test(value))
      throw this.#broken(name, 'octal bits as text');
    return Number.parseInt(value, 8);
  }

  oneOf<const T extends string>(name: string, allowed: readonly T[]): T {
    const value = this.#get(name);
    const found = allowed.find((candidate) => candidate === value);
    if (found === undefined) throw this.#broken(name, `one of ${allowed.join(', ')}`);
    return found;
  }

  optionalOneOf<const T extends string>(name: string, allowed: readonly T[]): T | undefined {
    return this.#get(name) === undefined ? undefined : this.oneOf(name, allowed);
  }

  volumeId(name: string): VolumeId {
    const value = this.text(name);
    if (!isVolumeId(value)) throw this.#broken(name, 'a volume id');
    return value;
  }

  object(name: string): FieldReader {
    return new FieldReader(this.#get(name), this.#path, `${this.#prefix}${name}.`);
  }

  optionalObject(name: string): FieldReader | undefined {
    return this.#get(name) === undefined ? undefined : this.object(name);
  }

  /** The whole object as a map of texts. */
  texts(): Readonly<Record<string, string>> {
    const entries = Object.entries(this.#fields).map(([name, value]): [string, string] => {
      if (typeof value !== 'string') throw this.#broken(name, 'a text');
      return [name, value];
    });
    return Object.fromEntries(entries);
  }

  #get(name: string): unknown {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
  }

  #broken(name: string, expected: string): StorageError {
    const found = JSON.stringify(this.#get(name)) ?? 'missing';
    const field = `${this.#prefix}${name}`;
    return new StorageError(
      'data-loss',
      `${this.#path}: field ${field} is ${found.slice(0, 80)}, not ${expected}`,
    );
  }
}
