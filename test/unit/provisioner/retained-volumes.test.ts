import { expect, it } from 'vitest';
import * as annotations from '../../../src/claims/annotations.ts';
import { decideReclaim } from '../../../src/provisioner/reclaim/decide-reclaim.ts';
import { RetainedVolumes } from '../../../src/provisioner/reclaim/retained-volumes.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { own } from './own-side.ts';

const nowMs = Date.UTC(2026, 0, 1);
const dayMs = 86_400_000;

function gaugesOf(volumes: RetainedVolumes): Record<string, number> {
  const gauges: Record<string, number> = {};
  volumes.measure({
    count: () => {},
    gauge: (name, _labels, value) => void (gauges[name] = value),
    observeSeconds: () => {},
  });
  return gauges;
}

it('counts what is retained, and what is on its way out, each as it was judged last', () => {
  const volumes = new RetainedVolumes();
  const note = (retainedUntil: string, capacity = '1Gi'): void => {
    const volume = aPersistentVolume({
      metadata: {
        annotations: { [annotations.retainFor]: '24h', [annotations.retainedUntil]: retainedUntil },
      },
      spec: { capacity: { storage: capacity } },
      status: { phase: 'Released' },
    });
    volumes.note(volume, decideReclaim(volume, own, [], nowMs));
  };
  note(new Date(nowMs + dayMs).toISOString());
  expect(gaugesOf(volumes)).toEqual({ loam_retained_volumes: 1, loam_retained_bytes: 2 ** 30 });
  expect(volumes.retained(() => false)).toMatchObject([
    { namespace: 'shop', sinceMs: nowMs, freesRoom: true },
  ]);
  expect(volumes.retained((id) => id === 'pvc-uid-1')).toMatchObject([{ freesRoom: false }]);
  // a person had it kept for a day more, which makes it a day younger
  note(new Date(nowMs + 2 * dayMs).toISOString(), 'lots');
  expect(volumes.retained(() => false)).toMatchObject([{ sinceMs: nowMs + dayMs, sizeBytes: 0n }]);
  expect(volumes.leaving()).toEqual(new Map());
  note(new Date(nowMs).toISOString());
  expect(gaugesOf(volumes)).toEqual({ loam_retained_volumes: 0, loam_retained_bytes: 0 });
  expect(volumes.leaving()).toEqual(new Map([['pool-1', 1n << 30n]]));
  volumes.forget('pvc-uid-1');
  expect(volumes.leaving()).toEqual(new Map());
});
