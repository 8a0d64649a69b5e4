import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { channelTo } from '../../../src/csi/channel.ts';
import { startCsiServer } from '../../../src/csi/server.ts';
import { csi } from '../../../src/csi/wire.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { recordingNode } from '../../support/recording-drivers.ts';
import { scratchFolder, send, serveDrivers } from '../../support/served-driver.ts';

describe('the Identity service', () => {
  it('tells name and version', async () => {
    await using served = await serveDrivers();
    const answer = await send(served.clients.identity, 'getPluginInfo', {});
    expect(answer).toEqual({ name: 'loam.dev', vendorVersion: '0.1.0', manifest: {} });
  });

  it('is ready exactly while the driver is', async () => {
    let isReady = false;
    await using served = await serveDrivers({ controller: { isReady: () => isReady } });
    // false travels as an absent field of the BoolValue, not as an absent BoolValue, which would mean ready
    expect(await send(served.clients.identity, 'probe', {})).toEqual({ ready: { value: false } });
    isReady = true;
    expect(await send(served.clients.identity, 'probe', {})).toEqual({ ready: { value: true } });
  });

  it('advertises the Controller service where there is one, and that volumes live in places', async () => {
    await using served = await serveDrivers();
    expect(await send(served.clients.identity, 'getPluginCapabilities', {})).toMatchObject({
      capabilities: [
        { service: { type: 'CONTROLLER_SERVICE' } },
        { service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' } },
      ],
    });
  });

  it('advertises that volumes grow while they are in use exactly while the driver can do so', async () => {
    await using served = await serveDrivers({
      controller: { getControllerCapabilities: async () => new Set(['EXPAND_VOLUME']) },
    });
    const growth = { type: 'volumeExpansion', volumeExpansion: { type: 'ONLINE' } };
    expect(await send(served.clients.identity, 'getPluginCapabilities', {})).toMatchObject({
      capabilities: [{}, {}, growth],
    });
    await using rigid = await serveDrivers();
    const { capabilities } = (await send(rigid.clients.identity, 'getPluginCapabilities', {})) as {
      readonly capabilities: readonly object[];
    };
    expect(capabilities).toHaveLength(2);
  });

  it('advertises no Controller service on a node that serves none', async () => {
    await using folder = await scratchFolder();
    const socketPath = join(folder.path, 'csi.sock');
    const identity = { name: 'loam.dev', vendorVersion: '0.1.0' };
    const node = recordingNode().driver;
    const server = await startCsiServer({
      socketPath,
      node,
      identity,
      log: silentLog,
      metrics: noMetrics,
      clock: systemClock,
    });
    const client = new csi.Identity(...channelTo(socketPath));
    try {
      expect(await send(client, 'getPluginCapabilities', {})).toMatchObject({
        capabilities: [{ service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' } }],
      });
      expect(await send(client, 'probe', {})).toEqual({ ready: { value: true } });
    } finally {
      client.close();
      await server.close();
    }
  });
});
