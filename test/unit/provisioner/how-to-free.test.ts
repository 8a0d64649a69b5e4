import { expect, it } from 'vitest';
import { howToFree } from '../../../src/provisioner/orphans/how-to-free.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';

const claim = { namespace: 'shop', name: 'data' };
const offered = { name: 'adopted-v', annotations: { 'loam.dev/adopted': 'by-name' } };

it('a volume that is offered by name is freed of its claim first, which it would be offered to again', () => {
  expect(howToFree(aPersistentVolume({ metadata: offered, spec: { claimRef: claim } }))).toBe(
    'delete claim shop/data where it waits, and then the PersistentVolume (kubectl delete pv adopted-v)',
  );
});

it('one with a PV for any claim, or reserved by hand, is freed of the PV', () => {
  const byHand = { name: 'by-hand', annotations: {} };
  for (const claimRef of [null, claim])
    expect(howToFree(aPersistentVolume({ metadata: byHand, spec: { claimRef } }))).toBe(
      'delete the PersistentVolume (kubectl delete pv by-hand)',
    );
});

it('one that a claim has or had ends as its PV says', () => {
  const claimRef = { ...claim, uid: 'uid-1' };
  expect(howToFree(aPersistentVolume({ metadata: offered, spec: { claimRef } }))).toBeUndefined();
});
