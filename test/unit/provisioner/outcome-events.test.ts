import { describe, expect, it } from 'vitest';
import { OutcomeEvents } from '../../../src/provisioner/outcome-events.ts';
import { aClaim } from '../../support/kube-objects.ts';

describe('OutcomeEvents', () => {
  function setUp() {
    const told: string[] = [];
    const events = new OutcomeEvents({
      record: (_object, type, reason, message) => void told.push(`${type} ${reason}: ${message}`),
    });
    return { told, events };
  }

  it('tells the same news once, and every change of it', () => {
    const { told, events } = setUp();
    for (const text of ['full', 'full', 'broken', 'full']) {
      events.normal('PersistentVolumeClaim', aClaim(), 'Provisioning', 'at work');
      events.warning('PersistentVolumeClaim', aClaim(), 'ProvisioningFailed', text);
    }
    expect(told).toEqual([
      'Normal Provisioning: at work',
      'Warning ProvisioningFailed: full',
      'Warning ProvisioningFailed: broken',
      'Warning ProvisioningFailed: full',
    ]);
  });

  it('takes texts for the same that differ only where they are too long to be told', () => {
    const { told, events } = setUp();
    const name = 'n'.repeat(2_000);
    for (const attempt of [1, 2, 3])
      events.warning(
        'PersistentVolumeClaim',
        aClaim(),
        'ProvisioningFailed',
        `${name}${attempt}${name}; ask for less`,
      );
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/n; ask for less$/);
  });

  it('takes a claim made anew under the same name for another one', () => {
    const { told, events } = setUp();
    events.normal('PersistentVolumeClaim', aClaim(), 'Provisioning', 'at work');
    events.normal('PersistentVolumeClaim', aClaim({ metadata: { uid: 'uid-2' } }), 'Provisioning', 'at work');
    events.forget('uid-1');
    events.normal('PersistentVolumeClaim', aClaim(), 'Provisioning', 'at work');
    expect(told).toHaveLength(3);
  });
});
