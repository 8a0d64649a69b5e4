import { describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { provisionerFinalizer } from '../../../src/claims/annotations.ts';
import { decideFinalizer } from '../../../src/provisioner/reclaim/decide-finalizer.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';

const without = { metadata: { finalizers: ['kubernetes.io/pv-protection'] } };
const table: [what: string, volume: PersistentVolume, kind: string][] = [
  ['Retain with it: off', aPersistentVolume({ spec: { persistentVolumeReclaimPolicy: 'Retain' } }), 'remove'],
  [
    'Recycle with it: off',
    aPersistentVolume({ spec: { persistentVolumeReclaimPolicy: 'Recycle' } }),
    'remove',
  ],
  [
    'Retain without it: nothing',
    aPersistentVolume({ ...without, spec: { persistentVolumeReclaimPolicy: 'Retain' } }),
    'keep',
  ],
  ['Delete with it: nothing', aPersistentVolume(), 'keep'],
  ['Delete without it, Bound: on', aPersistentVolume(without), 'add'],
  [
    'Delete without it, Released: nothing',
    aPersistentVolume({ ...without, status: { phase: 'Released' } }),
    'keep',
  ],
  [
    'Delete without it, Available: nothing',
    aPersistentVolume({ ...without, status: { phase: 'Available' } }),
    'keep',
  ],
  [
    'Delete without it, terminating: nothing',
    aPersistentVolume({ metadata: { finalizers: [], deletionTimestamp: '2026-01-01T00:00:00Z' } }),
    'keep',
  ],
  [
    'Retain with it, terminating: off, so that the PV can go and the storage stays',
    aPersistentVolume({
      metadata: { finalizers: [provisionerFinalizer], deletionTimestamp: '2026-01-01T00:00:00Z' },
      spec: { persistentVolumeReclaimPolicy: 'Retain' },
    }),
    'remove',
  ],
  [
    'Delete with it, terminating and offered to a claim by its name: off, since nobody will ever have it',
    aPersistentVolume({
      metadata: { finalizers: [provisionerFinalizer], deletionTimestamp: '2026-01-01T00:00:00Z' },
      spec: { claimRef: { namespace: 'shop', name: 'data' } },
      status: { phase: 'Available' },
    }),
    'remove',
  ],
  [
    'the same, while its data is being destroyed: nothing',
    aPersistentVolume({
      metadata: {
        finalizers: [provisionerFinalizer],
        deletionTimestamp: '2026-01-01T00:00:00Z',
        annotations: { 'loam.dev/reclaiming': 'uid' },
      },
      spec: { claimRef: { namespace: 'shop', name: 'data' } },
      status: { phase: 'Available' },
    }),
    'keep',
  ],
];

describe('decideFinalizer', () => {
  it.each(table)('%s', (_what, volume, kind) => {
    expect(decideFinalizer(volume).kind).toBe(kind);
  });
});
