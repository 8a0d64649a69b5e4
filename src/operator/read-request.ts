import { StorageError } from '../model/errors.ts';
import { isVolumeId } from '../model/volume-id.ts';
import type { AdoptionRequest } from './report.ts';

/** Far more than any request that makes sense. */
export const longestBodyBytes = 16 * 1024;

const longestPathBytes = 4095;
const archiveForm = /^[a-z0-9][-a-z0-9.]{0,150}$/;
const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const dnsName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** @throws StorageError 'invalid-argument' that says which field is wrong and what it may be */
export function readRemoval(body: string): string {
  const fields = readObject(body, ['volumeId']);
  return volumeIdIn(fields['volumeId']);
}

/** As `readRemoval`: of an archived volume, whose folder may have a time after the id. */
export function readArchiveRemoval(body: string): string {
  const { archiveId } = readObject(body, ['archiveId']);
  if (typeof archiveId === 'string' && archiveForm.test(archiveId) && !archiveId.includes('..'))
    return archiveId;
  throw wrong(`archiveId is ${said(archiveId)}; it is one as loam gc --dry-run prints it`);
}

/** As `readRemoval`. */
export function readAdoption(body: string): AdoptionRequest {
  const fields = readObject(body, ['path', 'volumeId', 'claim', 'className', 'sizeBytes', 'policy', 'apply']);
  const { path, volumeId, claim, className, sizeBytes, policy = 'Retain', apply = false } = fields;
  if ((path === undefined) === (volumeId === undefined))
    throw wrong('give either path or volumeId of what is to be adopted');
  if (sizeBytes !== undefined && path === undefined)
    throw wrong('sizeBytes is for a path; a volume has its size');
  if (policy !== 'Retain' && policy !== 'Delete')
    throw wrong(`policy is ${said(policy)}; it can be Retain or Delete`);
  if (typeof apply !== 'boolean') throw wrong(`apply is ${said(apply)}; it is true or false`);
  return {
    ...(path === undefined ? {} : { path: pathIn(path) }),
    ...(volumeId === undefined ? {} : { volumeId: volumeIdIn(volumeId) }),
    ...(claim === undefined ? {} : { claim: claimIn(claim) }),
    ...(className === undefined ? {} : { className: nameIn(className, 'className', 253, dnsName) }),
    ...(sizeBytes === undefined ? {} : { sizeBytes: bytesIn(sizeBytes) }),
    policy,
    apply,
  };
}

/** Reads `namespace/name`, as flags have it. @throws StorageError 'invalid-argument' */
export function parseClaimName(text: string): { readonly namespace: string; readonly name: string } {
  const [namespace, name, ...more] = text.split('/');
  if (name === undefined || more.length > 0)
    throw wrong(`${said(text)} names no claim; write it as namespace/name`);
  return claimIn({ namespace, name });
}

function readObject(body: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw wrong('the body is no JSON');
  }
  return objectIn(value, 'the body', known);
}

function objectIn(value: unknown, what: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(`${what} is ${said(value)}; it is an object with ${known.join(', ')}`);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw wrong(`${what} has a field ${said(unknown)}; it can have ${known.join(', ')}`);
  return value as Readonly<Record<string, unknown>>;
}

function volumeIdIn(value: unknown): string {
  if (typeof value === 'string' && isVolumeId(value)) return value;
  throw wrong(
    `volumeId is ${said(value)}; it has 1 to 128 of a-z, 0-9, "-" and ".", as loam volumes prints it`,
  );
}

function pathIn(value: unknown): string {
  const isPlain =
    typeof value === 'string' &&
    value.startsWith('/') &&
    !value.includes('\0') &&
    Buffer.byteLength(value) <= longestPathBytes &&
    !value.split('/').includes('..');
  if (isPlain) return value;
  throw wrong(`path is ${said(value)}; it is an absolute one without ".."`);
}

function claimIn(value: unknown): { readonly namespace: string; readonly name: string } {
  const { namespace, name } = objectIn(value, 'claim', ['namespace', 'name']);
  return {
    namespace: nameIn(namespace, "the claim's namespace", 63, dnsLabel),
    name: nameIn(name, "the claim's name", 253, dnsName),
  };
}

function bytesIn(value: unknown): string {
  if (typeof value === 'string' && /^[1-9]\d{0,18}$/.test(value)) return value;
  throw wrong(`sizeBytes is ${said(value)}; it is the digits of a whole number from 1`);
}

function nameIn(value: unknown, what: string, longest: number, form: RegExp): string {
  if (typeof value === 'string' && value.length <= longest && form.test(value)) return value;
  throw wrong(
    `${what} is ${said(value)}; it is a name as Kubernetes has them, of at most ${longest} characters`,
  );
}

/** Whatever somebody sent, shortened and with nothing in it that a terminal would obey. */
function said(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

function wrong(message: string): StorageError {
  return new StorageError('invalid-argument', message);
}
