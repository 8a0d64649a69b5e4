import { existsSync, lstatSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { connectCsiDriver } from '../../../src/csi/client.ts';
import { connectNodeDriver } from '../../../src/csi/node-client.ts';
import { startCsiServer, type CsiServerOptions } from '../../../src/csi/server.ts';
import type { Clock } from '../../../src/model/clock.ts';
import type { CallContext } from '../../../src/model/csi-driver.ts';
import { isReason } from '../../../src/model/errors.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { statusCodeOf } from '../../../src/model/status-code.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { recordingController } from '../../support/recording-drivers.ts';
import { anyCall, scratchFolder, serveDrivers } from '../../support/served-driver.ts';

function options(socketPath: string, version = '1'): CsiServerOptions {
  const identity = { name: 'loam.dev', vendorVersion: version };
  return { socketPath, identity, log: silentLog, metrics: noMetrics, clock: systemClock };
}

async function versionAt(socketPath: string): Promise<string> {
  const driver = connectCsiDriver(socketPath);
  try {
    return (await driver.getPluginInfo(anyCall())).vendorVersion;
  } finally {
    driver.close();
  }
}

/** A clock whose timers of a second and more fire almost at once; shorter ones as they are. */
const hastyClock: Clock = {
  ...systemClock,
  after: (delayMs, callback) => systemClock.after(delayMs >= 1000 ? 20 : delayMs, callback),
};

describe('the CSI server', () => {
  it('makes the folder and a socket that only its owner may use, and leaves nothing behind', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'plugins/loam.dev/csi.sock');
    const server = await startCsiServer(options(socketPath));
    expect(lstatSync(socketPath).isSocket()).toBe(true);
    expect(lstatSync(socketPath).mode & 0o777).toBe(0o600);
    expect(readdirSync(dirname(socketPath))).toEqual(['csi.sock']);
    await server.close();
    expect(readdirSync(dirname(socketPath))).toEqual([]);
  });

  it('replaces the socket of a process that was killed', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'csi.sock');
    await leaveDeadSocket(socketPath);
    await leaveDeadSocket(join(folder.path, '.csi.sock'));
    const server = await startCsiServer(options(socketPath));
    expect(await versionAt(socketPath)).toBe('1');
    await server.close();
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('refuses to replace what is not a socket, and names it', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'csi.sock');
    writeFileSync(socketPath, 'precious');
    const error: unknown = await startCsiServer(options(socketPath)).catch((thrown: unknown) => thrown);
    expect(isReason(error, 'host-failure')).toBe(true);
    expect(String(error)).toContain(`${socketPath} is there and is no socket`);
    expect(lstatSync(socketPath).size).toBe(8);
  });

  it('refuses a path that does not fit into a socket address', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'd'.repeat(100), 'csi.sock');
    await expect(startCsiServer(options(socketPath))).rejects.toThrow(/bytes too long/);
  });

  it('takes over from a living predecessor, whose end then leaves the new socket alone', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'csi.sock');
    const old = await startCsiServer(options(socketPath, 'old'));
    const successor = await startCsiServer(options(socketPath, 'new'));
    expect(await versionAt(socketPath)).toBe('new');
    await old.close();
    expect(await versionAt(socketPath)).toBe('new');
    await successor.close();
    expect(existsSync(socketPath)).toBe(false);
  });

  it('makes its socket again when somebody removed it', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'csi.sock');
    const clock: Clock = { ...systemClock, sleep: (_delayMs, signal) => systemClock.sleep(20, signal) };
    const server = await startCsiServer({ ...options(socketPath), clock });
    rmSync(socketPath);
    await vi.waitFor(async () => expect(await versionAt(socketPath)).toBe('1'), { timeout: 5000 });
    await server.close();
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('lets running calls end when it closes, and takes no new ones', async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    await using served = await serveDrivers({
      controller: {
        deleteVolume: async () => {
          started.resolve();
          await released;
        },
      },
    });
    const driver = connectCsiDriver(served.socketPath);
    const running = driver.deleteVolume({ volumeId: 'pvc-1' }, anyCall());
    await started.promise;
    const closing = served.server.close();
    await vi.waitFor(() => expect(existsSync(served.socketPath)).toBe(false));
    const late = connectNodeDriver(served.socketPath);
    const refused: unknown = await late.nodeInfo(anyCall()).catch((error: unknown) => error);
    expect(statusCodeOf(refused)).toBe('UNAVAILABLE');
    release();
    await running;
    await closing;
    driver.close();
    late.close();
  });

  it('aborts what still runs when its patience ends', async () => {
    const seen = Promise.withResolvers<CallContext>();
    await using served = await serveDrivers({
      controller: {
        deleteVolume: async (_request, call) => {
          seen.resolve(call);
          return new Promise(() => {});
        },
      },
      server: { clock: hastyClock },
    });
    const driver = connectCsiDriver(served.socketPath);
    const running = driver
      .deleteVolume({ volumeId: 'pvc-1' }, { signal: new AbortController().signal })
      .catch((error: unknown) => error);
    const call = await seen.promise;
    await served.server.close();
    expect(statusCodeOf(call.signal.reason)).toBe('CANCELLED');
    expect(String(call.signal.reason)).toContain("ended by the driver's shutdown");
    expect(statusCodeOf(await running)).toMatch(/CANCELLED|UNAVAILABLE/);
    driver.close();
  });

  it('is found again by a client when it comes back', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'csi.sock');
    const driver = connectCsiDriver(socketPath);
    const missing: unknown = await driver.getPluginInfo(anyCall()).catch((error: unknown) => error);
    expect(statusCodeOf(missing)).toBe('UNAVAILABLE');
    for (const version of ['1', '2']) {
      const server = await startCsiServer({
        ...options(socketPath, version),
        controller: recordingController().driver,
      });
      const found = async () => expect((await driver.getPluginInfo(anyCall())).vendorVersion).toBe(version);
      await vi.waitFor(found, { timeout: 5000, interval: 100 });
      await server.close();
    }
    driver.close();
  });
});

/** What a kill -9 leaves: a socket file that nobody listens on. */
async function leaveDeadSocket(path: string): Promise<void> {
  const { execFileSync } = await import('node:child_process');
  const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  try {
    execFileSync(process.execPath, ['-e', script, path], { stdio: 'ignore' });
  } catch {
    // killed, as it was told to
  }
  expect(lstatSync(path).isSocket()).toBe(true);
  await expect(
    new Promise((resolve, reject) => {
      const probe = createServer()
        .once('error', reject)
        .listen(path, () => probe.close(resolve));
    }),
  ).rejects.toThrow('EADDRINUSE');
}
