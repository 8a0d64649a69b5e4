import { beforeEach, describe, expect, it } from 'vitest';
import { awaitBinding, type Binding } from '../../../src/cli/undelete/await-binding.ts';
import { ApiError } from '../../../src/kube/api-error.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { aClaim } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const waiting = { claim: { namespace: 'shop', name: 'data' }, volumeName: 'pv-1' };

describe('waiting for the claim that gets its volume back', () => {
  let api: FakeKubeApi;
  let clock: ManualClock;
  let told: string[];
  beforeEach(() => {
    api = new FakeKubeApi();
    clock = new ManualClock();
    told = [];
    api.put('PersistentVolumeClaim', aClaim({ spec: { volumeName: 'pv-1' } }));
  });
  const wait = (signal = new AbortController().signal): Promise<Binding> =>
    awaitBinding(api, waiting, (line) => told.push(line), clock, signal);
  const bind = (): void =>
    api.edit('PersistentVolumeClaim', 'shop/data', (claim) => {
      Object.assign(claim, { status: { phase: 'Bound' } });
    });

  it('says nothing where that is soon', async () => {
    const end = wait();
    await clock.advance(1_500);
    bind();
    await clock.advance(500);
    expect(await end).toEqual({ message: 'claim shop/data is bound to it' });
    expect(told).toEqual([]);
  });

  it('says once, after two seconds, whom it waits for, and goes on until then', async () => {
    const end = wait();
    await clock.advance(1_999);
    expect(told).toEqual([]);
    await clock.advance(13_000);
    expect(told).toEqual([
      'waiting for kube-controller-manager to bind claim shop/data, which may take until its next look, 15 s',
    ]);
    bind();
    await clock.advance(500);
    expect(await end).toEqual({ message: 'claim shop/data is bound to it' });
    expect(told).toHaveLength(1);
  });

  it('ends where nobody binds it, and says where to look', async () => {
    const end = wait();
    await clock.advance(60_000);
    const { message, isLost } = await end;
    expect(message).toMatch(/not bound after 30 s.*kubectl -n shop describe pvc data/);
    expect(isLost).toBeUndefined();
  });

  it('fails at once where the claim gets another volume', async () => {
    const end = wait();
    await clock.advance(1_000);
    api.edit('PersistentVolumeClaim', 'shop/data', ({ spec }) => {
      Object.assign(spec, { volumeName: 'pv-2' });
    });
    await clock.advance(500);
    expect(await end).toEqual({
      isLost: true,
      message: expect.stringMatching(/claim shop\/data got another volume meanwhile, pv-2;.*--to/) as unknown,
    });
  });

  it('fails where the claim goes, and not where nobody answers', async () => {
    const end = wait();
    await clock.advance(1_000);
    api.erase('PersistentVolumeClaim', 'shop/data');
    await clock.advance(1_000);
    expect(await end).toEqual({ isLost: true, message: 'claim shop/data was deleted meanwhile' });
    api.fail('get', 'PersistentVolumeClaim', new ApiError(403, 'Forbidden', 'you may not'));
    expect(await wait()).toEqual({
      message: expect.stringMatching(
        /could not be told \(.*you may not.*kubectl -n shop describe pvc data/,
      ) as unknown,
    });
    expect((await wait(AbortSignal.abort(new Error('too late')))).message).toContain('too late');
  });
});
