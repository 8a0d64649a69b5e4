import { once } from 'node:events';
import { lstatSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { connect as connectHttp2, constants } from 'node:http2';
import { connect as connectSocket, createServer } from 'node:net';
import { join } from 'node:path';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { describe, expect, it, vi } from 'vitest';
import { startRegistration } from '../../../src/kubelet/registration.ts';
import { pluginregistration } from '../../../src/kubelet/wire.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { recordingLog, recordingMetrics } from '../../support/recording-drivers.ts';
import { scratchFolder } from '../../support/served-driver.ts';

async function register(folder: string, checkEveryMs = 10_000) {
  const socketPath = join(folder, 'loam.dev-reg.sock');
  const { log, lines } = recordingLog();
  const { metrics, observed } = recordingMetrics();
  const registration = await startRegistration({
    socketPath,
    driverName: 'loam.dev',
    endpoint: '/var/lib/kubelet/plugins/loam.dev/csi.sock',
    log,
    metrics,
    clock: systemClock,
    checkEveryMs,
  });
  return { socketPath, registration, lines, observed };
}

/** One call on a fresh connection with kubelet's deadline of one second, as kubelet makes them. */
async function asKubelet(
  socketPath: string,
  method: 'getInfo' | 'notifyRegistrationStatus',
  request: object,
): Promise<object> {
  const client = new pluginregistration.Registration(`unix://${socketPath}`, credentials.createInsecure());
  const { promise, resolve, reject } = Promise.withResolvers<object>();
  const done = (error: ServiceError | null, answer?: object): void =>
    error === null ? resolve(answer ?? {}) : reject(error);
  client[method](request, new Metadata(), { deadline: Date.now() + 1000 }, done);
  try {
    return await promise;
  } finally {
    client.close();
  }
}

const info = {
  type: 'CSIPlugin',
  name: 'loam.dev',
  endpoint: '/var/lib/kubelet/plugins/loam.dev/csi.sock',
  supportedVersions: ['1.0.0'],
};

describe('registration with kubelet', () => {
  it('says who is there, as often as it is asked, on a socket that only its owner may use', async () => {
    await using folder = await scratchFolder();
    const { socketPath, registration } = await register(folder.path);
    expect(lstatSync(socketPath).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder.path)).toEqual(['loam.dev-reg.sock']);
    for (let time = 0; time < 3; time += 1) expect(await asKubelet(socketPath, 'getInfo', {})).toEqual(info);
    await registration.close();
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('remembers what kubelet said last and serves on after a refusal', async () => {
    await using folder = await scratchFolder();
    const { socketPath, registration, lines, observed } = await register(folder.path);
    expect(registration.isRegistered()).toBe(false);
    await asKubelet(socketPath, 'notifyRegistrationStatus', {
      pluginRegistered: false,
      error: 'another driver has that name',
    });
    expect(registration.isRegistered()).toBe(false);
    expect(lines.filter(({ level }) => level === 'error')).toMatchObject([
      { facts: { error: 'another driver has that name' } },
    ]);
    await asKubelet(socketPath, 'getInfo', {});
    await asKubelet(socketPath, 'notifyRegistrationStatus', { pluginRegistered: true });
    expect(registration.isRegistered()).toBe(true);
    expect(observed.map(({ name, value }) => [name, value])).toEqual([
      ['loam_kubelet_registered', 0],
      ['loam_kubelet_registered', 1],
    ]);
    await registration.close();
  });

  it('answers a client that names the socket path, percent-encoded, as authority, as kubelet does', async () => {
    await using folder = await scratchFolder();
    const { socketPath, registration } = await register(folder.path);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const session = connectHttp2('http://ignored', { createConnection: () => connectSocket(socketPath) });
    session.once('error', reject);
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: '/pluginregistration.Registration/GetInfo',
      [constants.HTTP2_HEADER_AUTHORITY]: encodeURIComponent(
        '/var/lib/kubelet/plugins_registry/loam.dev-reg.sock',
      ),
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
      te: 'trailers',
    });
    stream.once('error', reject);
    stream.once('trailers', (trailers: Record<string, unknown>) => resolve(Number(trailers['grpc-status'])));
    const body: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => body.push(chunk));
    // an empty message: not compressed, length 0
    stream.end(Buffer.alloc(5));
    expect(await promise).toBe(0);
    expect(Buffer.concat(body).toString('latin1')).toContain('CSIPlugin');
    session.close();
    await registration.close();
  });

  it('makes a file anew for a restarted driver, so that kubelet comes by again', async () => {
    await using folder = await scratchFolder();
    const first = await register(folder.path);
    const before = lstatSync(first.socketPath).ino;
    const second = await register(folder.path);
    expect(lstatSync(first.socketPath).ino).not.toBe(before);
    await first.registration.close();
    expect(await asKubelet(second.socketPath, 'getInfo', {})).toEqual(info);
    expect(second.registration.isRegistered()).toBe(false);
    await second.registration.close();
  });

  it('makes its socket again when the file is gone', async () => {
    await using folder = await scratchFolder();
    const { socketPath, registration } = await register(folder.path, 20);
    for (let time = 0; time < 2; time += 1) {
      rmSync(socketPath);
      await vi.waitFor(async () => expect(await asKubelet(socketPath, 'getInfo', {})).toEqual(info), {
        timeout: 5000,
      });
    }
    await registration.close();
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('leaves the socket of a living successor alone, and counts itself as not registered', async () => {
    await using folder = await scratchFolder();
    const { socketPath, registration, lines } = await register(folder.path, 20);
    await asKubelet(socketPath, 'notifyRegistrationStatus', { pluginRegistered: true });
    const successor = createServer((socket) => socket.end()).listen(join(folder.path, 'new.sock'));
    await once(successor, 'listening');
    renameSync(join(folder.path, 'new.sock'), socketPath);
    const { ino } = lstatSync(socketPath);
    await vi.waitFor(() => expect(registration.isRegistered()).toBe(false), { timeout: 5000 });
    expect(lstatSync(socketPath).ino).toBe(ino);
    expect(lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    await registration.close();
    expect(lstatSync(socketPath).ino).toBe(ino);
    successor.close();
  });
});
