import type { CsiDriver } from '../../model/csi-driver.ts';
import { DriverCalls } from '../driver-calls.ts';
import type { Watches } from '../watches.ts';
import { SnapshotLoop, type SnapshotLoopOptions } from './snapshot-loop.ts';

/** One driver call's deadline: a file system is frozen and synced in it, and a small one copied. */
const timeoutMs = 60_000;

export interface SnapshotStartOptions extends Omit<SnapshotLoopOptions, 'calls' | 'volumes'> {
  readonly driver: CsiDriver;
  readonly watches: Watches;
  /** whether this node's contents are looked after here */
  readonly snapshots?: boolean;
  /** of a driver that does not tell by itself */
  readonly onSpaceUsed?: () => void;
}

/** @returns undefined where somebody else looks after snapshots, or the driver has none */
export function startSnapshots(options: SnapshotStartOptions, signal: AbortSignal): SnapshotLoop | undefined {
  const { own, watches, capabilities } = options;
  // what our own driver can do follows from pools that may be opened later
  const isAble = own.ownDriver || capabilities.has('CREATE_DELETE_SNAPSHOT');
  if (options.snapshots !== true || !isAble) return undefined;
  const calls = new DriverCalls({ ...options, driverName: own.driverName, timeoutMs });
  const snapshots = new SnapshotLoop({ ...options, calls, volumes: watches });
  watches.onVolume(({ previous, current }) => {
    if (previous === undefined && current !== undefined) snapshots.onVolume(current);
  });
  snapshots.start(signal);
  return snapshots;
}
