import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A process whose mount namespace keeps the mounts that there are now, whatever becomes of them here. */
export async function holdMounts(): Promise<{ end(): Promise<void> }> {
  const child = spawn(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; read line'],
    { stdio: ['pipe', 'pipe', 'ignore'] },
  );
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  return {
    end: async () => {
      child.stdin.end('\n');
      await ended;
    },
  };
}
