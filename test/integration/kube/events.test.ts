import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import { EventRecorder } from '../../../src/kube/event-recorder.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { OutcomeEvents } from '../../../src/provisioner/outcome-events.ts';
import { aClaim } from '../../support/kube-objects.ts';
import { RealApiServer } from '../../support/real-api-server.ts';

const { signal } = new AbortController();
const dnsName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

describe('Events of the longest names, on the real API server', () => {
  let server: RealApiServer;
  let api: ReturnType<typeof createKubeApi>;
  beforeAll(async () => {
    server = await RealApiServer.start({});
    api = createKubeApi(loadKubeAccess(server.kubeconfigPath), {
      metrics: noMetrics,
      userAgent: 'loam/test',
    });
  }, 900_000);
  afterAll(async () => {
    await api?.close();
    await server?.stop();
  });

  it('are taken, wherever the name is cut, with what they are about and what to do', async () => {
    const host = `${'h'.repeat(126)}.`.repeat(2).slice(0, 252) + 'h';
    const recorder = new EventRecorder({
      api,
      component: 'loam.dev',
      host,
      clock: systemClock,
      log: silentLog,
    });
    const events = new OutcomeEvents(recorder);
    const className = 'k'.repeat(253);
    const names = ['.', '-', 'n'].map((between) => `${'n'.repeat(229)}${between}`.padEnd(253, 'n'));
    for (const name of names) {
      const metadata = { name, namespace: 'default' };
      const claim = await api.create(
        'PersistentVolumeClaim',
        {
          ...aClaim({ metadata, spec: { storageClassName: className } }),
          metadata,
        },
        signal,
      );
      for (const attempt of [1, 2])
        events.warning(
          'PersistentVolumeClaim',
          claim,
          'ProvisioningFailed',
          `claim default/${name} of class ${className} on ${host}: ${'語'.repeat(400)}${attempt}${'語'.repeat(400)}; ask for less`,
        );
    }
    await recorder.flush(signal);
    expect(recorder.dropped).toBe(0);
    const { items } = await api.list('Event', { namespace: 'default' }, signal);
    const ours = items.filter(({ source }) => source?.component === 'loam.dev');
    expect(new Set(ours.map(({ involvedObject }) => involvedObject.name))).toEqual(new Set(names));
    expect(ours).toHaveLength(names.length);
    for (const { metadata, involvedObject, message = '', source } of ours) {
      expect(metadata.name.length).toBeLessThanOrEqual(253);
      expect(metadata.name).toMatch(dnsName);
      expect(Buffer.byteLength(message)).toBeLessThanOrEqual(1024);
      expect(message.startsWith(`claim default/${involvedObject.name} of class ${className}`)).toBe(true);
      expect(message.endsWith('; ask for less')).toBe(true);
      expect(source?.host).toBe(host);
    }
  });
});
