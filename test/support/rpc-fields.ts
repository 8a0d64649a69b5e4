import { descriptor } from '../../src/csi/generated/descriptor.ts';

/** A field of a message of the proto, as its descriptor says it. */
interface FieldType {
  readonly type: string;
  readonly rule?: string;
  readonly keyType?: string;
}
interface MessageType {
  readonly fields?: Readonly<Record<string, FieldType>>;
  readonly values?: Readonly<Record<string, number>>;
  readonly oneofs?: Readonly<Record<string, { readonly oneof: readonly string[] }>>;
  readonly nested?: Readonly<Record<string, MessageType>>;
  readonly methods?: Readonly<Record<string, { readonly requestType: string }>>;
}

// the generated module says nothing of its own shape
const csi = (descriptor as unknown as { readonly nested: Record<string, MessageType> }).nested['csi']
  ?.nested?.['v1'];

export interface Rpc {
  readonly service: 'Identity' | 'Controller' | 'Node';
  readonly method: string;
  readonly requestType: string;
}

/** Every RPC of the three services, from the proto itself. */
export const rpcs: readonly Rpc[] = (['Identity', 'Controller', 'Node'] as const).flatMap((service) =>
  Object.entries(resolve(service).message.methods ?? {}).map(([method, { requestType }]) => ({
    service,
    method,
    requestType,
  })),
);

/** Where in a request a text lies: each step a field's name; '[]' into a list, '{k}' a map's key, '{v}' its value, '=k' the value of key k. */
export type FieldPath = readonly string[];

/** Every place of a message that takes a text, also in the messages inside. */
export function textFields(type: string, scope: readonly string[] = []): FieldPath[] {
  const { message, path } = resolve(type, scope);
  return Object.entries(message.fields ?? {}).flatMap(([name, field]) => {
    if (field.keyType !== undefined) {
      return [
        [name, '{k}'],
        [name, '{v}'],
      ];
    }
    const steps = field.rule === 'repeated' ? [name, '[]'] : [name];
    if (field.type === 'string' || field.type === 'bytes') return [steps];
    if (isScalar(field.type) || resolve(field.type, path).message.values !== undefined) return [];
    return textFields(field.type, path).map((below) => [...steps, ...below]);
  });
}

/** A copy of a request with a text put in one place; what is missing on the way there is made. */
export function withText(request: object, path: FieldPath, text: string): object {
  return put(request, path, text) as object;
}

function put(value: unknown, [step, ...rest]: FieldPath, text: string): unknown {
  if (step === undefined) return text;
  if (step === '[]') {
    const [first, ...others] = Array.isArray(value) ? (value as unknown[]) : [];
    return [put(first, rest, text), ...others];
  }
  const fields: Record<string, unknown> = { ...(value as object | undefined) };
  if (step === '{k}' || step === '{v}') {
    // a plain assignment of __proto__ would not make a key of it
    const [key, entry] = step === '{k}' ? [text, 'value'] : [Object.keys(fields)[0] ?? 'key', text];
    return Object.fromEntries([...Object.entries(fields), [key, entry]]);
  }
  if (step.startsWith('=')) return Object.fromEntries([...Object.entries(fields), [step.slice(1), text]]);
  fields[step] = put(fields[step], rest, text);
  return fields;
}

function isScalar(type: string): boolean {
  return /^(u?int|s?fixed|sint)(32|64)$|^(bool|double|float)$|^google\./.test(type);
}

interface Resolved {
  readonly message: MessageType;
  readonly path: readonly string[];
}

/** A type by its name, looked for where it is used first, as proto does. */
function resolve(name: string, scope: readonly string[] = []): Resolved {
  for (let depth = scope.length; depth >= 0; depth -= 1) {
    const outer = scope.slice(0, depth);
    let at = csi;
    for (const step of outer) at = at?.nested?.[step];
    const message = at?.nested?.[name];
    if (message !== undefined) return { message, path: [...outer, name] };
  }
  throw new Error(`the proto has no ${[...scope, name].join('.')}`);
}
