import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import type { VolumeCapability } from '../../../src/model/volume.ts';
import { callFor, mountCapability } from '../../support/volume-lab.ts';
import { lab, process, publish, reason, restart, stage, unpublish, useNodeLab } from './node-lab.ts';

useNodeLab();

const singleWriter: VolumeCapability = { ...mountCapability, accessMode: 'SINGLE_NODE_SINGLE_WRITER' };

describe('a repeat with other arguments', () => {
  test.each([
    ['read-only', { readonly: true }, /writable, asked is read-only/],
    [
      'flags',
      {
        capability: {
          ...mountCapability,
          access: { kind: 'mount' as const, fsType: '', mountFlags: ['noatime'] },
        },
      },
      /mount flags none, asked is noatime/,
    ],
    ['access mode', { capability: singleWriter }, /access mode/],
  ])('(%s) at the same target is refused, also after a restart', async (_what, changes, message) => {
    await stage();
    await publish();
    await expect(publish(changes)).rejects.toMatchObject({
      reason: 'published-differently',
      message: expect.stringMatching(message) as unknown,
    });
    await restart();
    await expect(publish(changes)).rejects.toMatchObject(reason('published-differently'));
    await publish();
  });

  test('is refused of a stage, too', async () => {
    await stage();
    await expect(stage({ capability: singleWriter })).rejects.toMatchObject({
      reason: 'published-differently',
      message: expect.stringMatching(/access mode.*; unstage it first$/) as unknown,
    });
  });

  test('is fine once nothing is mounted there, whatever is remembered', async () => {
    await stage();
    await publish();
    lab.mounts.remove(lab.kubeletPath('pod-1'));
    await publish({ readonly: true });
  });
});

describe('a single writer', () => {
  test('keeps every second target away until the first is gone', async () => {
    await stage({ capability: singleWriter });
    await publish({ capability: singleWriter });
    const second = { capability: singleWriter, targetPath: lab.kubeletPath('pod-2') };
    await expect(publish(second)).rejects.toMatchObject({
      reason: 'in-use',
      message: expect.stringContaining('pod-1') as unknown,
    });
    await expect(publish({ targetPath: lab.kubeletPath('pod-2') })).rejects.toMatchObject(reason('in-use'));
    await publish({ capability: singleWriter });
    await unpublish();
    await publish(second);
  });

  test('is kept out by other pods, and other modes share', async () => {
    await stage();
    await publish();
    await publish({
      targetPath: lab.kubeletPath('pod-2'),
      capability: { ...mountCapability, accessMode: 'SINGLE_NODE_WRITER' },
    });
    await expect(
      publish({ targetPath: lab.kubeletPath('pod-3'), capability: singleWriter }),
    ).rejects.toMatchObject(reason('in-use'));
  });
});

describe('a failure on the way', () => {
  test('while publishing leaves no mount, no target and no memory', async () => {
    await stage();
    lab.directory.duringPublish = async () => {
      throw new StorageError('host-failure', 'remount failed');
    };
    await expect(publish()).rejects.toMatchObject(reason('host-failure'));
    expect(lab.mounts.has(lab.kubeletPath('pod-1'))).toBe(false);
    expect(existsSync(lab.kubeletPath('pod-1'))).toBe(false);
    lab.directory.duringPublish = async () => {};
    await publish({ readonly: true });
  });

  test('while repeating a publish leaves the running pod its mount', async () => {
    await stage();
    await publish();
    lab.directory.duringPublish = async () => {
      throw new StorageError('host-failure', 'looking failed');
    };
    await expect(publish()).rejects.toMatchObject(reason('host-failure'));
    expect(lab.mounts.has(lab.kubeletPath('pod-1'))).toBe(true);
  });

  test('that cannot be rolled back is no final answer', async () => {
    await stage();
    lab.directory.duringPublish = async () => {
      throw new StorageError('host-failure', 'remount failed');
    };
    lab.directory.targets.ensureUnmounted = async () => {
      throw new StorageError('in-use', 'target is busy');
    };
    await expect(publish()).rejects.toMatchObject({
      code: 'ABORTED',
      message: expect.stringMatching(/remount failed.*busy/) as unknown,
    });
  });

  test('that leaves a stage behind is no final answer, and a repeat goes on', async () => {
    lab.directory.duringStage = async () => {
      throw new StorageError('host-failure', 'mount failed');
    };
    const unstageOne = lab.directory.unstage.bind(lab.directory);
    lab.directory.unstage = async () => {
      throw new StorageError('in-use', 'the staging path is busy');
    };
    await expect(stage()).rejects.toMatchObject({
      code: 'ABORTED',
      message: expect.stringMatching(/mount failed.*not be undone yet.*busy/) as unknown,
    });
    lab.directory.unstage = unstageOne;
    lab.directory.duringStage = async () => {};
    await stage();
    await publish();
  });

  test('while staging leaves nothing staged', async () => {
    lab.directory.duringStage = async () => {
      throw new StorageError('host-failure', 'mount failed');
    };
    await expect(stage()).rejects.toMatchObject(reason('host-failure'));
    await expect(publish()).rejects.toMatchObject(reason('not-staged'));
    await process.service.deleteVolume({ volumeId: 'a' }, callFor());
  });
});
