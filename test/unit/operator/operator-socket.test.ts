import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { silentLog } from '../../../src/model/log.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { OperatorClient } from '../../../src/operator/operator-client.ts';
import type { OperatorPorts } from '../../../src/operator/report.ts';
import { serveOperatorSocket } from '../../../src/roles/serve-operator.ts';
import { ManualClock } from '../../support/manual-clock.ts';

describe('the operator socket', () => {
  let folder: string;
  let socketPath: string;
  let asked: unknown[];
  let fail: Error | undefined;
  let hold: ((signal: AbortSignal) => Promise<void>) | undefined;
  let close: () => Promise<void>;
  let client: OperatorClient;

  const answer = async <T>(what: unknown, signal: AbortSignal, value: T): Promise<T> => {
    asked.push(what);
    await hold?.(signal);
    if (fail !== undefined) throw fail;
    return value;
  };
  const ports: OperatorPorts = {
    volumes: (signal) => answer('volumes', signal, { node: 'node-a', volumes: [], warnings: [] }),
    plan: (signal) => answer('plan', signal, { node: 'node-a', findings: [], warnings: [] }),
    remove: (volumeId, signal) =>
      answer({ remove: volumeId }, signal, { volumeId, outcome: 'removed', message: 'gone' }),
    removeArchived: (id, signal) =>
      answer({ archived: id }, signal, { volumeId: id, outcome: 'removed', message: 'gone' }),
    forget: (volumeId, signal) => answer({ forget: volumeId }, signal, { volumeId, message: 'forgotten' }),
    adopt: (wish, signal) =>
      answer(wish, signal, { volumeId: 'v', manifest: {}, isCreated: false, message: 'made' }),
  };
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'loam-operator-'));
    socketPath = join(folder, 'operator.sock');
    asked = [];
    fail = undefined;
    hold = undefined;
    const served = await serveOperatorSocket(folder, ports, { clock: systemClock, log: silentLog });
    close = () => served.close();
    client = new OperatorClient(socketPath);
  });
  afterEach(async () => {
    await close();
    rmSync(folder, { recursive: true, force: true });
  });
  const send = (method: string, path: string, body?: string): Promise<{ status: number; value: unknown }> =>
    new Promise((resolve, reject) => {
      const asking = request({ socketPath, method, path }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.once('end', () => resolve({ status: response.statusCode ?? 0, value: JSON.parse(text) }));
      });
      asking.once('error', reject);
      asking.end(body);
    });

  it('can be opened by its owner only', () => {
    expect(statSync(socketPath).mode & 0o7777).toBe(0o600);
  });

  it('answers each of its routes, and what was asked arrives', async () => {
    expect(await client.volumes()).toEqual({ node: 'node-a', volumes: [], warnings: [] });
    expect(await client.plan()).toEqual({ node: 'node-a', findings: [], warnings: [] });
    expect(await client.remove('pvc-1')).toMatchObject({ outcome: 'removed' });
    expect(await client.removeArchived('pvc-1.77')).toMatchObject({ outcome: 'removed' });
    expect(await client.forget('sdb-1')).toMatchObject({ message: 'forgotten' });
    const wish = {
      path: '/pools/fast/old',
      claim: { namespace: 'shop', name: 'data' },
      className: 'fast',
      sizeBytes: '10737418240',
      policy: 'Delete',
      apply: true,
    } as const;
    expect(await client.adopt(wish)).toMatchObject({ message: 'made' });
    const removals = [{ remove: 'pvc-1' }, { archived: 'pvc-1.77' }, { forget: 'sdb-1' }];
    expect(asked).toEqual(['volumes', 'plan', ...removals, wish]);
  });

  it.each([
    ['POST', '/gc/remove', '', /the body is no JSON/],
    ['POST', '/gc/remove', '[]', /the body is \[\]; it is an object with volumeId/],
    ['POST', '/gc/remove', '{}', /volumeId is nothing/],
    ['POST', '/gc/remove', '{"volumeId":"../../etc"}', /volumeId is "\.\.\/\.\.\/etc"/],
    ['POST', '/gc/remove', '{"volumeId":"v","all":true}', /a field "all"; it can have volumeId/],
    ['POST', '/gc/remove', '{"volumeId":"v","__proto__":{}}', /a field "__proto__"/],
    ['POST', '/gc/remove', '{"volumeId":["v"]}', /volumeId is \["v"\]/],
    ['POST', '/gc/forget', '{"volumeId":"../x"}', /volumeId is "\.\.\/x"/],
    ['POST', '/gc/remove-archived', '{"archiveId":"a..b"}', /archiveId is "a\.\.b"/],
    ['POST', '/gc/remove-archived', '{"volumeId":"v"}', /a field "volumeId"; it can have archiveId/],
    ['POST', '/adopt', '{}', /either path or volumeId/],
    ['POST', '/adopt', '{"path":"/p","volumeId":"v"}', /either path or volumeId/],
    ['POST', '/adopt', '{"path":"p"}', /path is "p"; it is an absolute one/],
    ['POST', '/adopt', '{"path":"/p/../../etc"}', /without ".."/],
    ['POST', '/adopt', '{"path":"/p\\u0000"}', /path is/],
    [
      'POST',
      '/adopt',
      '{"volumeId":"v","policy":"Recycle"}',
      /policy is "Recycle"; it can be Retain or Delete/,
    ],
    ['POST', '/adopt', '{"volumeId":"v","apply":"yes"}', /apply is "yes"/],
    ['POST', '/adopt', '{"volumeId":"v","claim":"shop/data"}', /claim is "shop\/data"; it is an object/],
    [
      'POST',
      '/adopt',
      '{"volumeId":"v","claim":{"namespace":"a.b","name":"c"}}',
      /the claim's namespace is "a\.b"/,
    ],
    ['POST', '/adopt', '{"volumeId":"v","claim":{"namespace":"shop"}}', /the claim's name is nothing/],
    ['POST', '/adopt', '{"volumeId":"v","className":"A"}', /className is "A"/],
    ['POST', '/adopt', '{"volumeId":"v","sizeBytes":"4096"}', /sizeBytes is for a path/],
    ['POST', '/adopt', '{"path":"/p/x","sizeBytes":"1Gi"}', /sizeBytes is "1Gi"/],
  ])('refuses %s %s %s and says why', async (method, path, body, message) => {
    const { status, value } = await send(method, path, body);
    expect(status).toBe(400);
    expect(value).toEqual({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) as unknown });
    expect(asked).toEqual([]);
  });

  it('refuses what is far too long, and shortens what it tells of it', async () => {
    expect(await send('POST', '/gc/remove', 'x'.repeat(17_000))).toMatchObject({ status: 413 });
    const { value } = await send('POST', '/gc/remove', JSON.stringify({ volumeId: 'x'.repeat(10_000) }));
    expect(JSON.stringify(value).length).toBeLessThan(300);
  });

  it.each([
    ['GET', '/'],
    ['GET', '/gc/remove'],
    ['POST', '/volumes'],
    ['DELETE', '/gc'],
    ['GET', '/volumes?x=1'],
    ['GET', '/gc/../volumes'],
    ['GET', '/toString'],
  ])('has no %s %s', async (method, path) => {
    expect(await send(method, path)).toMatchObject({ status: 404, value: { code: 'NOT_FOUND' } });
  });

  it('survives what is no HTTP at all', async () => {
    const socket = connect(socketPath);
    socket.on('error', () => {});
    socket.resume();
    socket.end('\0\xff nonsense\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(await client.plan()).toMatchObject({ node: 'node-a' });
  });

  it.each([
    [new StorageError('volume-not-found', 'volume v is not here'), 404, 'NOT_FOUND'],
    [new CsiError('FAILED_PRECONDITION', 'volume v is no orphan'), 409, 'FAILED_PRECONDITION'],
    [new StorageError('busy', 'volume v is busy'), 409, 'ABORTED'],
    [new CsiError('UNAVAILABLE', 'the API server does not answer'), 503, 'UNAVAILABLE'],
    [new TypeError('our own fault'), 500, 'INTERNAL'],
  ])('tells %s with its sentence', async (error, status, code) => {
    fail = error;
    expect(await send('GET', '/gc')).toEqual({ status, value: { code, message: error.message } });
    await expect(client.plan()).rejects.toMatchObject({
      name: 'OperatorRefusal',
      code,
      message: error.message,
    });
  });

  it('tells of an answer that was lost that what was asked may be done, where it changes anything', async () => {
    const cutPath = join(folder, 'cut.sock');
    const cutting = createServer((socket) => socket.once('data', () => socket.destroy()));
    await new Promise<void>((resolve) => cutting.listen(cutPath, resolve));
    const cut = new OperatorClient(cutPath);
    try {
      await expect(cut.removeArchived('pvc-1.77')).rejects.toMatchObject({
        code: 'UNKNOWN',
        message: expect.stringMatching(/did not answer.*may be done all the same.*loam gc/) as unknown,
      });
      await expect(cut.plan()).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.not.stringMatching(/may be done/) as unknown,
      });
    } finally {
      cutting.close();
    }
  });

  it('ends what is under way when the caller goes, and when it is closed', async () => {
    const ended: string[] = [];
    hold = (signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          ended.push((signal.reason as Error).message);
          reject(signal.reason as Error);
        });
      });
    const asking = request({ socketPath, method: 'GET', path: '/gc' }).end();
    asking.on('error', () => {});
    await expect.poll(() => asked.length).toBe(1);
    asking.destroy();
    await expect.poll(() => ended).toEqual(['the caller went away']);
    const waiting = client.plan();
    await expect.poll(() => asked.length).toBe(2);
    await Promise.all([close(), expect(waiting).rejects.toThrow('the process is being stopped')]);
    expect(() => statSync(socketPath)).toThrow('ENOENT');
  });

  it('says of what changes something, when it is closed in the middle, that it may be done', async () => {
    hold = (signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
    const waiting = client.remove('pvc-1');
    await expect.poll(() => asked.length).toBe(1);
    const told = expect(waiting).rejects.toMatchObject({
      code: 'UNKNOWN',
      message: expect.stringMatching(/being stopped; .*may be done all the same/) as unknown,
    });
    await Promise.all([close(), told]);
  });

  it('does not wait at its end for a request that never arrives', async () => {
    const socket = connect(socketPath);
    socket.on('error', () => {});
    socket.resume();
    socket.write('POST /gc/remove HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{');
    await client.plan();
    await close();
    close = () => Promise.resolve();
    expect(asked).toEqual(['plan']);
  });

  it('takes the place of one that a killed process left', async () => {
    const second = await serveOperatorSocket(folder, ports, { clock: systemClock, log: silentLog });
    expect(await client.plan()).toMatchObject({ node: 'node-a' });
    await close();
    expect(await client.plan()).toMatchObject({ node: 'node-a' });
    close = () => second.close();
  });
});

describe('the client', () => {
  it('says where it looked and what to do when nobody listens', async () => {
    await expect(new OperatorClient('/nowhere/operator.sock').plan()).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(
        /at \/nowhere\/operator\.sock does not listen \(ENOENT\); run this where loam node runs/,
      ) as unknown,
    });
  });

  it('finds a socket that could not be made at first, once what was in the way is gone', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'loam-operator-'));
    const socketPath = join(folder, 'operator.sock');
    writeFileSync(socketPath, 'somebody’s');
    const clock = new ManualClock();
    const plan = () => Promise.resolve({ node: 'node-a', findings: [], warnings: [] });
    const ports = { plan } as unknown as OperatorPorts; // the one that is asked
    const served = await serveOperatorSocket(folder, ports, { clock, log: silentLog });
    try {
      await clock.advance(10_000);
      await expect(new OperatorClient(socketPath).plan()).rejects.toThrow('does not listen');
      rmSync(socketPath);
      await expect
        .poll(async () => {
          await clock.advance(10_000);
          return new OperatorClient(socketPath).plan();
        })
        .toMatchObject({ node: 'node-a' });
    } finally {
      await served.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('does not keep a node from starting where no socket can be made', async () => {
    const served = await serveOperatorSocket(`/${'x'.repeat(200)}`, {} as OperatorPorts, {
      clock: systemClock,
      log: silentLog,
    });
    await served.close();
  });
});
