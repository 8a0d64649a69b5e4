import { EventEmitter } from 'node:events';
import { Metadata, status, type ServerUnaryCall } from '@grpc/grpc-js';
import { describe, expect, it, vi } from 'vitest';
import { connectCsiDriver } from '../../../src/csi/client.ts';
import { unary } from '../../../src/csi/unary.ts';
import type { CallContext } from '../../../src/model/csi-driver.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { statusCodeOf } from '../../../src/model/status-code.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { aVolume } from '../../support/recording-drivers.ts';
import { anyCall, refusal, send, serveDrivers } from '../../support/served-driver.ts';

const createRequest = {
  name: 'pvc-1',
  volumeCapabilities: [{ accessMode: { mode: 'SINGLE_NODE_WRITER' }, mount: {} }],
};

/** A driver whose deleteVolume waits for its signal and throws what the test wants then. */
function waitingForSignal(thrown: (signal: AbortSignal) => unknown) {
  const seen: { call?: CallContext } = {};
  const deleteVolume = async (_request: unknown, call: CallContext) => {
    seen.call = call;
    const { promise, resolve } = Promise.withResolvers<void>();
    call.signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
    throw thrown(call.signal);
  };
  return { seen, deleteVolume };
}

describe('the way from the wire to a handler', () => {
  it.each([
    ['rejects', async () => Promise.reject(new TypeError('x is not a function'))],
    [
      'throws before it awaits anything',
      () => {
        throw new TypeError('x is not a function');
      },
    ],
  ])('answers INTERNAL at once when a handler %s', async (_how, createVolume) => {
    await using served = await serveDrivers({ controller: { createVolume } });
    const answer = await refusal(send(served.clients.controller, 'createVolume', createRequest));
    expect(answer).toEqual({ code: status.INTERNAL, details: 'x is not a function' });
    expect(served.logLines.filter(({ level }) => level === 'error')).toMatchObject([
      {
        facts: {
          method: 'CreateVolume',
          code: 'INTERNAL',
          name: 'pvc-1',
          error: new TypeError('x is not a function'),
        },
      },
    ]);
  });

  it('answers INTERNAL when a handler that is not even async throws', async () => {
    const edge = { driverName: 'loam.dev', log: silentLog, metrics: noMetrics, clock: systemClock };
    const served = unary<object, object>(
      { ...edge, shutdown: new AbortController().signal },
      '/a.B/C',
      () => {
        throw new TypeError('x is not a function');
      },
    );
    const call = Object.assign(new EventEmitter(), {
      request: {},
      metadata: new Metadata(),
      getDeadline: () => Infinity,
    });
    const { promise, resolve } = Promise.withResolvers<unknown>();
    // only these parts of a call are used
    served(call as unknown as ServerUnaryCall<object, object>, resolve);
    expect(await promise).toEqual({ code: status.INTERNAL, details: 'x is not a function' });
  });

  it('answers the code and the message of a StorageError, and logs its facts', async () => {
    const full = new StorageError('out-of-space', 'pool fast has 3 GiB free', {
      facts: { pool: 'fast', freeBytes: 3n },
    });
    await using served = await serveDrivers({
      controller: { createVolume: async () => Promise.reject(full) },
    });
    expect(await refusal(send(served.clients.controller, 'createVolume', createRequest))).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      details: 'pool fast has 3 GiB free',
    });
    expect(served.logLines.filter(({ level }) => level === 'warn')).toMatchObject([
      {
        facts: {
          method: 'CreateVolume',
          code: 'RESOURCE_EXHAUSTED',
          reason: 'out-of-space',
          pool: 'fast',
          freeBytes: 3n,
        },
      },
    ]);
  });

  it('answers a message that is too long for trailers cut short, not as a broken stream', async () => {
    const long = new StorageError('host-failure', 'é'.repeat(100_000));
    await using served = await serveDrivers({
      controller: { createVolume: async () => Promise.reject(long) },
    });
    const { code, details } = await refusal(send(served.clients.controller, 'createVolume', createRequest));
    expect([code, details.length]).toEqual([status.INTERNAL, 2049]);
  });

  it("hands the caller's deadline to the handler and aborts its signal then", async () => {
    const waiting = waitingForSignal((signal) => signal.reason);
    await using served = await serveDrivers({ controller: { deleteVolume: waiting.deleteVolume } });
    const driver = connectCsiDriver(served.socketPath);
    const deadlineMs = Date.now() + 300;
    try {
      const error: unknown = await driver
        .deleteVolume({ volumeId: 'pvc-1' }, { signal: new AbortController().signal, deadlineMs })
        .catch((thrown: unknown) => thrown);
      expect(statusCodeOf(error)).toBe('DEADLINE_EXCEEDED');
      await vi.waitFor(() =>
        expect(statusCodeOf(waiting.seen.call?.signal.reason)).toBe('DEADLINE_EXCEEDED'),
      );
      expect(Math.abs((waiting.seen.call?.deadlineMs ?? 0) - deadlineMs)).toBeLessThan(100);
    } finally {
      driver.close();
    }
  });

  it("aborts the handler's signal when the caller cancels, and logs what became of it", async () => {
    const waiting = waitingForSignal(() => new Error('child process was killed'));
    await using served = await serveDrivers({ controller: { deleteVolume: waiting.deleteVolume } });
    const driver = connectCsiDriver(served.socketPath);
    const caller = new AbortController();
    try {
      const answer = driver
        .deleteVolume({ volumeId: 'pvc-1' }, { signal: caller.signal })
        .catch((thrown: unknown) => thrown);
      await vi.waitFor(() => expect(waiting.seen.call).toBeDefined());
      expect(waiting.seen.call).not.toHaveProperty('deadlineMs');
      caller.abort();
      expect(statusCodeOf(await answer)).toBe('CANCELLED');
      await vi.waitFor(() => expect(statusCodeOf(waiting.seen.call?.signal.reason)).toBe('CANCELLED'));
      await vi.waitFor(() =>
        expect(served.logLines.filter(({ level }) => level === 'warn')).toMatchObject([
          {
            facts: {
              method: 'DeleteVolume',
              volumeId: 'pvc-1',
              code: 'CANCELLED',
              error: 'child process was killed',
            },
          },
        ]),
      );
    } finally {
      driver.close();
    }
  });

  it('does not abort the signal of a call that was answered', async () => {
    await using served = await serveDrivers();
    await send(served.clients.controller, 'deleteVolume', { volumeId: 'pvc-1' });
    await served.server.close();
    expect(served.controllerCalls[0]?.call.signal.aborted).toBe(false);
  });

  it("measures each call under upstream's names", async () => {
    await using served = await serveDrivers({
      controller: { deleteVolume: async () => Promise.reject(new StorageError('in-use', 'mounted')) },
    });
    await send(served.clients.controller, 'createVolume', createRequest);
    await refusal(send(served.clients.controller, 'deleteVolume', { volumeId: 'pvc-1' }));
    await refusal(send(served.clients.controller, 'deleteVolume', { volumeId: '' }));
    const labels = (method: string, grpc_status_code: string) => ({
      name: 'csi_plugin_operations_seconds',
      labels: { driver_name: 'loam.dev', method_name: `/csi.v1.Controller/${method}`, grpc_status_code },
    });
    expect(served.observed).toMatchObject([
      labels('CreateVolume', 'OK'),
      labels('DeleteVolume', 'FailedPrecondition'),
      labels('DeleteVolume', 'InvalidArgument'),
    ]);
    expect(served.observed.every(({ value }) => value >= 0 && value < 5)).toBe(true);
  });

  it('logs one line a call with the volume and without anything secret', async () => {
    await using served = await serveDrivers();
    await send(served.clients.controller, 'createVolume', {
      ...createRequest,
      secrets: { password: 'hunter2' },
      parameters: { uid: '77' },
    });
    await send(served.clients.identity, 'probe', {});
    const lines = served.logLines.filter(({ message }) => message === 'served');
    expect(lines).toMatchObject([
      { level: 'info', facts: { method: 'CreateVolume', code: 'OK', name: 'pvc-1' } },
      { level: 'debug', facts: { method: 'Probe', code: 'OK' } },
    ]);
    expect(JSON.stringify(served.logLines)).not.toMatch(/hunter2|77/);
  });

  it('takes a message of 10 MiB', async () => {
    const volumeContext = { large: 'x'.repeat(10 * 1024 * 1024) };
    await using served = await serveDrivers({
      controller: { createVolume: async () => ({ ...aVolume, volumeContext }) },
    });
    const driver = connectCsiDriver(served.socketPath);
    try {
      const request = { name: 'pvc-1', capacityRange: { requiredBytes: 0n, limitBytes: 0n }, parameters: {} };
      const capabilities = [{ accessMode: 'SINGLE_NODE_WRITER', access: { kind: 'block' } }] as const;
      const answer = await driver.createVolume({ ...request, capabilities }, anyCall());
      expect(answer.volumeContext['large']).toHaveLength(10 * 1024 * 1024);
    } finally {
      driver.close();
    }
  });
});
