import { join } from 'node:path';
import { keepSocket, type KeptSocket } from '../host/kept-socket.ts';
import { messageOf } from '../model/errors.ts';
import { operatorSocketName } from '../operator/socket-name.ts';
import { serveOperator } from '../operator/operator-server.ts';
import type { OperatorPorts } from '../operator/report.ts';
import type { ProcessContext } from './volume-stack.ts';

/**
 * The socket of the operator's commands, `<runDir>/operator.sock`, mode 0600; a predecessor's is replaced, one that is removed made again.
 * Where it cannot be made that is logged: pods and their volumes do not need it.
 */
export async function serveOperatorSocket(
  runDir: string,
  ports: OperatorPorts,
  { clock, log }: Pick<ProcessContext, 'clock' | 'log'>,
): Promise<Pick<KeptSocket, 'close'>> {
  const socketPath = join(runDir, operatorSocketName);
  try {
    const open = (boundPath: string) => serveOperator({ boundPath, ports, log });
    const kept = await keepSocket({ socketPath, clock, log, open });
    log.info({ socketPath }, 'serving the commands of operators');
    return kept;
  } catch (error) {
    log.error({ socketPath, err: messageOf(error) }, 'loam volumes, gc and adopt cannot be served');
    return { close: () => Promise.resolve() };
  }
}
