import { qualifiedName, type Resource } from './resources.ts';

export interface StatusCause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

/** The body of every answer that is not a success, as API machinery shapes it. */
export interface StatusBody {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: object;
  readonly status: 'Failure';
  readonly message: string;
  readonly reason?: string;
  readonly details?: {
    readonly name?: string;
    readonly group?: string;
    readonly kind?: string;
    readonly uid?: string;
    readonly causes?: readonly StatusCause[];
    readonly retryAfterSeconds?: number;
  };
  readonly code: number;
}

/** A request refused, with the Status that goes out for it. */
export class ApiFailure extends Error {
  override name = 'ApiFailure';
  readonly body: StatusBody;

  constructor(code: number, reason: string, message: string, details?: StatusBody['details']) {
    super(message);
    this.body = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      ...(reason === '' ? {} : { reason }),
      ...(details === undefined ? {} : { details }),
      code,
    };
  }
}

export function notFound(resource: Resource, name: string): ApiFailure {
  return new ApiFailure(
    404,
    'NotFound',
    `${qualifiedName(resource)} "${name}" not found`,
    detailsOf(resource, name),
  );
}

export function pathNotFound(): ApiFailure {
  return new ApiFailure(404, 'NotFound', 'the server could not find the requested resource', {});
}

export function alreadyExists(resource: Resource, name: string): ApiFailure {
  const message = `${qualifiedName(resource)} "${name}" already exists`;
  return new ApiFailure(409, 'AlreadyExists', message, detailsOf(resource, name));
}

export function conflict(resource: Resource, name: string, why: string): ApiFailure {
  const message = `Operation cannot be fulfilled on ${qualifiedName(resource)} "${name}": ${why}`;
  return new ApiFailure(409, 'Conflict', message, detailsOf(resource, name));
}

/** The same for a DELETE's preconditions, which names the kind instead of the resource. */
export function deleteConflict(resource: Resource, name: string, why: string): ApiFailure {
  const message = `Operation cannot be fulfilled on ${resource.kind} "${name}": ${why}`;
  return new ApiFailure(409, 'Conflict', message, { ...detailsOf(resource, name), kind: resource.kind });
}

export function forbidden(resource: Resource, name: string, why: string): ApiFailure {
  const message = `${qualifiedName(resource)} "${name}" is forbidden: ${why}`;
  return new ApiFailure(403, 'Forbidden', message, detailsOf(resource, name));
}

/** 422 with one cause a field, in the words that kubectl prints. */
export function invalid(resource: Resource, name: string, causes: readonly StatusCause[]): ApiFailure {
  const kind = resource.group === '' ? resource.kind : `${resource.kind}.${resource.group}`;
  const texts = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const list = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`;
  return new ApiFailure(422, 'Invalid', `${kind} "${name}" is invalid: ${list}`, {
    name,
    ...(resource.group === '' ? {} : { group: resource.group }),
    kind: resource.kind,
    causes,
  });
}

export function badRequest(message: string): ApiFailure {
  return new ApiFailure(400, 'BadRequest', message);
}

/** 410: the resourceVersion or the page token is older than what is remembered. */
export function expired(message: string): ApiFailure {
  return new ApiFailure(410, 'Expired', message);
}

function detailsOf(resource: Resource, name: string): NonNullable<StatusBody['details']> {
  return { name, ...(resource.group === '' ? {} : { group: resource.group }), kind: resource.plural };
}
