import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { givenUp, metricCode, statusNameOf, wireStatus } from '../../../src/csi/status.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { CsiError } from '../../../src/model/status-code.ts';

describe('the status of an error', () => {
  it("is the error's own code where it is a CSI answer", () => {
    const full = wireStatus(new StorageError('out-of-space', 'full'));
    expect(full).toEqual({ name: 'RESOURCE_EXHAUSTED', code: status.RESOURCE_EXHAUSTED, details: 'full' });
    expect(wireStatus(new CsiError('UNAVAILABLE', 'away')).code).toBe(status.UNAVAILABLE);
  });

  it('is INTERNAL for everything else that can be thrown', () => {
    expect(wireStatus(new RangeError('oops'))).toMatchObject({ name: 'INTERNAL', details: 'oops' });
    expect(wireStatus('text')).toMatchObject({ name: 'INTERNAL', details: 'text' });
    expect(wireStatus(undefined)).toMatchObject({ name: 'INTERNAL' });
  });

  it('is why the call was given up, when the work then fails with something of its own', () => {
    const late = AbortSignal.abort(givenUp('CreateVolume', 1000, 1001));
    expect(wireStatus(new Error('killed'), late).name).toBe('DEADLINE_EXCEEDED');
    const cancelled = AbortSignal.abort(givenUp('CreateVolume', 9000, 1001));
    expect(wireStatus(new Error('killed'), cancelled).name).toBe('CANCELLED');
    expect(wireStatus(new StorageError('busy', 'busy'), cancelled).name).toBe('ABORTED');
    expect(wireStatus(new Error('killed'), AbortSignal.abort()).name).toBe('INTERNAL');
  });

  it('can be sent whatever it quotes, and wherever it is cut', () => {
    for (const message of ['half \ud800', `${'x'.repeat(2047)}😀`, '\udc00/..', 'line\nbreak\0']) {
      const { details } = wireStatus(new StorageError('busy', message));
      // as grpc-js does; a throw there leaves the caller waiting
      expect(() => encodeURI(details)).not.toThrow();
    }
  });

  it('has a name for every number of gRPC but OK, and back', () => {
    const numbers = Object.values(status).filter((value) => typeof value === 'number');
    for (const code of numbers.filter((code) => code !== status.OK)) {
      const name = statusNameOf(code);
      expect(name === undefined ? undefined : status[name]).toBe(code);
    }
    expect([statusNameOf(0), statusNameOf(99)]).toEqual([undefined, undefined]);
  });

  it('is spelt as Go spells it in metrics', () => {
    expect(
      (['OK', 'CANCELLED', 'DEADLINE_EXCEEDED', 'INTERNAL', 'DATA_LOSS'] as const).map(metricCode),
    ).toEqual(['OK', 'Canceled', 'DeadlineExceeded', 'Internal', 'DataLoss']);
  });
});
