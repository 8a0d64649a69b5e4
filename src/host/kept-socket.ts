import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import { SocketFile } from './socket-file.ts';

/** Something that listens. */
export interface Listener {
  /** Stops accepting, lets running calls end and forces the rest. */
  close(): Promise<void>;
}

export interface KeptSocketOptions {
  readonly socketPath: string;
  /** Opens a fresh listener on the path that it is given. */
  readonly open: (boundPath: string) => Promise<Listener>;
  readonly clock: Clock;
  readonly log: Log;
  /** how often to look whether the name is still ours */
  readonly checkEveryMs?: number;
}

export interface KeptSocket {
  /** Whether the name leads to us, as of the last look. */
  isOurs(): boolean;
  close(): Promise<void>;
}

/**
 * Serves on a Unix socket and keeps its name alive: a removed or dead file under it is replaced by a fresh one. A
 * living successor (a rolling update) is left alone, and followed if it goes away without us having been stopped.
 */
export async function keepSocket(options: KeptSocketOptions): Promise<KeptSocket> {
  const { clock, log, socketPath } = options;
  const stopping = new AbortController();
  let { file, listener } = await serve(options);
  let isOurs = true;
  const retired: Promise<void>[] = [];

  const look = async (): Promise<void> => {
    const state = await file.state();
    if (state === 'theirs' && isOurs) log.warn({ socketPath }, 'another process has taken over the socket');
    isOurs = state === 'ours' || (state !== 'theirs' && (await replace(state)));
  };
  const replace = async (state: string): Promise<boolean> => {
    const old = listener;
    ({ file, listener } = await serve(options));
    retired.push(old.close());
    log.warn({ socketPath, state }, 'the socket was gone and has been made again');
    return true;
  };
  const watching = (async () => {
    while (await slept(clock, options.checkEveryMs ?? 10_000, stopping.signal)) {
      await look().catch((error: unknown) =>
        log.error({ socketPath, error }, 'the socket could not be checked; trying again'),
      );
    }
  })();

  return {
    isOurs: () => isOurs,
    close: async () => {
      stopping.abort();
      await watching;
      await file.remove();
      await Promise.all([listener.close(), ...retired]);
    },
  };
}

async function serve({
  open,
  socketPath,
}: KeptSocketOptions): Promise<{ file: SocketFile; listener: Listener }> {
  let listener: Listener | undefined;
  try {
    const file = await SocketFile.create(socketPath, async (boundPath) => {
      listener = await open(boundPath);
    });
    if (listener === undefined) throw new TypeError('nothing was opened');
    return { file, listener };
  } catch (error) {
    await listener?.close();
    throw error;
  }
}

/** False when it was woken by the signal. */
async function slept(clock: Clock, delayMs: number, signal: AbortSignal): Promise<boolean> {
  try {
    await clock.sleep(delayMs, signal);
    return !signal.aborted;
  } catch {
    return false;
  }
}
