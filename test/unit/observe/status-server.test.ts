import { afterEach, describe, expect, it } from 'vitest';
import { startStatusServer, type StatusServer } from '../../../src/observe/status-server.ts';

let server: StatusServer | undefined;
afterEach(async () => server?.close());

async function ask(path: string, init?: RequestInit) {
  const response = await fetch(`http://${server?.address}${path}`, init);
  return { status: response.status, body: await response.text() };
}

describe('the status server', () => {
  it('is healthy while every live check holds, and ready when all do', async () => {
    let relisting: string | undefined = 'claims are being listed again since 3 s';
    server = await startStatusServer(
      '127.0.0.1:0',
      [
        { name: 'socket', kind: 'live', problem: () => undefined },
        { name: 'watches', kind: 'ready', problem: () => relisting },
      ],
      () => 'loam_up 1\n',
    );
    expect(await ask('/healthz')).toEqual({ status: 200, body: '[+] socket: ok\n' });
    expect(await ask('/readyz')).toEqual({
      status: 503,
      body: '[+] socket: ok\n[-] watches: claims are being listed again since 3 s\n',
    });
    relisting = undefined;
    expect((await ask('/readyz')).status).toBe(200);
    expect(await ask('/metrics')).toEqual({ status: 200, body: 'loam_up 1\n' });
  });

  it('stays ready where a check holds with something amiss, and says what', async () => {
    let amiss: string | undefined = 'pool fast: /mnt/fast is gone; mount its disk again';
    server = await startStatusServer(
      '127.0.0.1:0',
      [{ name: 'pools', kind: 'ready', problem: () => undefined, degraded: () => amiss }],
      () => '',
    );
    expect(await ask('/readyz')).toEqual({
      status: 200,
      body: '[!] pools: degraded: pool fast: /mnt/fast is gone; mount its disk again\n',
    });
    amiss = undefined;
    expect(await ask('/readyz?verbose')).toEqual({ status: 200, body: '[+] pools: ok\n' });
  });

  it('reports a check that throws as failed, and serves nothing else', async () => {
    server = await startStatusServer(
      '127.0.0.1:0',
      [{ name: 'pools', kind: 'live', problem: () => Promise.reject(new Error('EIO')) }],
      () => '',
    );
    expect(await ask('/healthz')).toEqual({ status: 503, body: '[-] pools: Error: EIO\n' });
    expect((await ask('/')).status).toBe(404);
    expect((await ask('/metrics', { method: 'POST' })).status).toBe(405);
  });

  it('listens on every address of the machine where the address is without a host', async () => {
    server = await startStatusServer(':0', [], () => 'loam_up 1\n');
    const port = server.address.slice(server.address.lastIndexOf(':') + 1);
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(200);
  });
});
