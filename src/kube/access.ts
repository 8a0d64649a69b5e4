import { existsSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';

/** What TLS needs to know to trust the server and to be known to it. */
export interface TlsIdentity {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

export interface Credentials {
  /** Authorization and impersonation; secret, never logged */
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsIdentity;
}

/** Where the API server is and how to be let in. */
export interface KubeAccess {
  /** origin and path prefix without a slash at its end */
  readonly server: string;
  readonly proxyUrl: string | undefined;
  /**
   * Credentials as they are now: short-lived tokens are read again once a minute, exec plugins asked when theirs expire.
   * `fresh` forgets all that is cached and reads the kubeconfig again: for the moment after a 401.
   */
  credentials(options?: { readonly fresh?: boolean }): Promise<Credentials>;
}

/** A cause that only a person can remove: no kubeconfig, a context that is not in it, a proxy that we cannot use. */
export class KubeAccessError extends Error {
  override name = 'KubeAccessError';
}

const inClusterTokenPath = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/**
 * Finds the API server: the kubeconfig named, else those of `KUBECONFIG`, else the pod's service account, else `~/.kube/config`.
 *
 * @throws KubeAccessError where there is none, or the context is not in it
 */
export function loadKubeAccess(kubeconfigPath?: string, context?: string): KubeAccess {
  let config = loadConfig(kubeconfigPath, context);
  const { server, proxyUrl } = clusterOf(config);
  return {
    server: server.replace(/\/+$/, ''),
    proxyUrl,
    credentials: async ({ fresh = false } = {}) => {
      if (fresh) config = loadConfig(kubeconfigPath, context);
      return credentialsOf(config);
    },
  };
}

/** An API server on plain http that asks for no credentials: the embedded control plane, `kubectl proxy`. */
export function plainKubeAccess(server: string): KubeAccess {
  const nothing: Credentials = { headers: {}, tls: {} };
  return {
    server: server.replace(/\/+$/, ''),
    proxyUrl: undefined,
    credentials: () => Promise.resolve(nothing),
  };
}

function loadConfig(kubeconfigPath: string | undefined, context: string | undefined): KubeConfig {
  const config = new KubeConfig();
  if (kubeconfigPath !== undefined) config.loadFromFile(kubeconfigPath);
  else if (isSet('KUBECONFIG')) config.loadFromDefault();
  else if (isSet('KUBERNETES_SERVICE_HOST') && existsSync(inClusterTokenPath)) config.loadFromCluster();
  else config.loadFromDefault();

  if (context !== undefined) config.setCurrentContext(context);
  if (config.getCurrentCluster() === null) {
    throw new KubeAccessError(
      `context "${config.getCurrentContext()}" names no cluster of ${kubeconfigPath ?? 'the kubeconfig'}; name one of: ${contextNames(config)}`,
    );
  }
  return config;
}

function clusterOf(config: KubeConfig): { server: string; proxyUrl: string | undefined } {
  const cluster = config.getCurrentCluster();
  // client-node's last resort when it found nothing at all
  if (cluster === null || cluster.server === 'http://localhost:8080') {
    throw new KubeAccessError(
      'no API server is configured: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account',
    );
  }
  const proxyUrl = cluster.proxyUrl ?? undefined;
  if (proxyUrl?.startsWith('socks') === true) {
    throw new KubeAccessError(
      `the kubeconfig's proxy-url ${new URL(proxyUrl).host} is a SOCKS proxy; only http and https proxies are supported`,
    );
  }
  return { server: cluster.server, proxyUrl };
}

async function credentialsOf(config: KubeConfig): Promise<Credentials> {
  const options: RequestOptions = {};
  const cluster = config.getCurrentCluster();
  if (cluster?.server.startsWith('http:') === true) {
    // client-node refuses plain http unless the cluster says that TLS may go unverified; there is no TLS here
    const user = config.getCurrentUser();
    const open = new KubeConfig();
    open.loadFromClusterAndUser({ ...cluster, skipTLSVerify: true }, user ?? { name: 'nobody' });
    await open.applyToHTTPSOptions(options);
    return { headers: headersOf(options), tls: {} };
  }
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, servername, rejectUnauthorized } = options as TlsIdentity;
  return {
    headers: headersOf(options),
    tls: {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(servername !== undefined && { servername }),
      ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
    },
  };
}

function headersOf(options: RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries((options.headers ?? {}) as Record<string, unknown>)) {
    // a token file ends in a newline more often than not, and a header must not
    if (typeof value === 'string') headers[name.toLowerCase()] = value.trim();
  }
  // basic authentication: `user:password`
  if (typeof options.auth === 'string') {
    headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  }
  return headers;
}

function contextNames(config: KubeConfig): string {
  return (
    config
      .getContexts()
      .map(({ name }) => name)
      .join(', ') || '(it has no contexts)'
  );
}

function isSet(variable: string): boolean {
  const value = process.env[variable];
  return value !== undefined && value !== '';
}
