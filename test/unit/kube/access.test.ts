import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadKubeAccess } from '../../../src/kube/access.ts';

let directoryPath: string;
beforeEach(async () => {
  directoryPath = await mkdtemp(join(tmpdir(), 'loam-access-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(directoryPath, { recursive: true });
});

describe('access to the API server', () => {
  it('takes server, trust and token from the kubeconfig named', async () => {
    const path = await kubeconfig({ token: 'secret' }, { 'certificate-authority-data': base64('the CA') });
    const access = loadKubeAccess(path);
    expect(access.server).toBe('https://10.0.0.1:6443/prefix');
    expect(await access.credentials()).toEqual({
      headers: { authorization: 'Bearer secret' },
      tls: { ca: Buffer.from('the CA') },
    });
  });

  it('takes a client certificate', async () => {
    await file('client.crt', 'a certificate');
    const path = await kubeconfig({ 'client-certificate': 'client.crt', 'client-key-data': base64('a key') });
    expect(await loadKubeAccess(path).credentials()).toEqual({
      headers: {},
      tls: { cert: Buffer.from('a certificate'), key: Buffer.from('a key') },
    });
  });

  it('takes a user and a password', async () => {
    const path = await kubeconfig({ username: 'me', password: 'pw' });
    expect((await loadKubeAccess(path).credentials()).headers).toEqual({
      authorization: `Basic ${base64('me:pw')}`,
    });
  });

  it('does without verification only where the kubeconfig says so', async () => {
    const path = await kubeconfig(
      { token: 't' },
      { 'insecure-skip-tls-verify': true, 'tls-server-name': 'api.example' },
    );
    expect((await loadKubeAccess(path).credentials()).tls).toEqual({
      rejectUnauthorized: false,
      servername: 'api.example',
    });
  });

  it('asks an exec plugin, and asks it again only when told that its answer is no longer good', async () => {
    const countPath = join(directoryPath, 'count');
    const status =
      '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}';
    const command = `echo x >> ${countPath}; echo '${status}' | sed s/\\"t\\"/\\"t$(wc -l < ${countPath})\\"/`;
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'sh', args: ['-c', command] };
    const access = loadKubeAccess(await kubeconfig({ exec }));
    expect((await access.credentials()).headers).toEqual({ authorization: 'Bearer t1' });
    expect((await access.credentials()).headers).toEqual({ authorization: 'Bearer t1' });
    expect((await access.credentials({ fresh: true })).headers).toEqual({ authorization: 'Bearer t2' });
  });

  it('reads a rotated token again when told to, without its newline', async () => {
    const tokenFile = await file('token', 'first\n');
    const path = await kubeconfig({ 'auth-provider': { name: 'tokenFile', config: { tokenFile } } });
    const access = loadKubeAccess(path);
    expect((await access.credentials()).headers).toEqual({ authorization: 'Bearer first' });
    await file('token', 'second\n');
    expect((await access.credentials({ fresh: true })).headers).toEqual({ authorization: 'Bearer second' });
  });

  it('sends a token over plain http too, where somebody set that up', async () => {
    const path = await kubeconfig({ token: 't' }, { server: 'http://127.0.0.1:8001/' });
    const access = loadKubeAccess(path);
    expect(access.server).toBe('http://127.0.0.1:8001');
    expect(await access.credentials()).toEqual({ headers: { authorization: 'Bearer t' }, tls: {} });
  });

  it('finds the kubeconfig by its variable, and takes another context when told', async () => {
    vi.stubEnv('KUBECONFIG', await kubeconfig({ token: 't' }));
    expect(loadKubeAccess().server).toBe('https://10.0.0.1:6443/prefix');
    expect(loadKubeAccess(undefined, 'other').server).toBe('https://10.0.0.2:6443');
  });

  it('names the contexts that there are when it is given one that is not', async () => {
    const path = await kubeconfig({ token: 't' });
    expect(() => loadKubeAccess(path, 'nowhere')).toThrow(
      /"nowhere" names no cluster of .*; name one of: here, other/,
    );
  });

  it('says what to do where nothing is configured', () => {
    vi.stubEnv('KUBECONFIG', '');
    vi.stubEnv('KUBERNETES_SERVICE_HOST', '');
    vi.stubEnv('HOME', directoryPath);
    expect(() => loadKubeAccess()).toThrow(/give --kubeconfig, set KUBECONFIG/);
  });

  it('refuses a SOCKS proxy, without telling its password', async () => {
    const path = await kubeconfig({ token: 't' }, { 'proxy-url': 'socks5://me:pw@proxy.example:1080' });
    expect(() => loadKubeAccess(path)).toThrow(/proxy-url proxy\.example:1080 is a SOCKS proxy/);
  });
});

async function kubeconfig(user: object, cluster: object = {}): Promise<string> {
  const config = {
    clusters: [
      { name: 'here', cluster: { server: 'https://10.0.0.1:6443/prefix/', ...cluster } },
      { name: 'there', cluster: { server: 'https://10.0.0.2:6443' } },
    ],
    users: [{ name: 'me', user }],
    contexts: [
      { name: 'here', context: { cluster: 'here', user: 'me' } },
      { name: 'other', context: { cluster: 'there', user: 'me' } },
    ],
    'current-context': 'here',
  };
  return file('config', JSON.stringify(config));
}

async function file(name: string, text: string): Promise<string> {
  const path = join(directoryPath, name);
  await writeFile(path, text);
  return path;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
