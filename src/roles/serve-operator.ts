import { join } from 'node:path';
import { keepSocket, type KeptSocket } from '../host/kept-socket.ts';
import { messageOf } from '../model/errors.ts';
import { operatorSocketName } from '../operator/socket-name.ts';
import { serveOperator } from '../operator/operator-server.ts';
import type { OperatorPorts } from '../operator/report.ts';
import type { ProcessContext } from './volume-stack.ts';

const againMs = 10_000;

/**
 * The socket of the operator's commands, `<runDir>/operator.sock`, mode 0600; a predecessor's is replaced, one that is removed made again.
 * Where it cannot be made that is logged, and tried again every ten seconds: pods and their volumes do not need it.
 */
export async function serveOperatorSocket(
  runDir: string,
  ports: OperatorPorts,
  { clock, log }: Pick<ProcessContext, 'clock' | 'log'>,
): Promise<Pick<KeptSocket, 'close'>> {
  const socketPath = join(runDir, operatorSocketName);
  const stopping = new AbortController();
  let told = '';
  const serve = async (): Promise<KeptSocket | undefined> => {
    try {
      const open = (boundPath: string) => serveOperator({ boundPath, ports, log });
      const kept = await keepSocket({ socketPath, clock, log, open });
      log.info({ socketPath }, 'serving the commands of operators');
      return kept;
    } catch (error) {
      const err = messageOf(error);
      if (err !== told)
        log.error({ socketPath, err }, 'loam volumes, gc and adopt cannot be served; trying again');
      told = err;
      return undefined;
    }
  };
  let kept = await serve();
  const serving = (async () => {
    while (kept === undefined && !stopping.signal.aborted) {
      await clock.sleep(againMs, stopping.signal).catch(() => {});
      if (!stopping.signal.aborted) kept = await serve();
    }
  })();
  return {
    close: async () => {
      stopping.abort();
      await serving;
      await kept?.close();
    },
  };
}
