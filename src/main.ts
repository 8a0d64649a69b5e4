#!/usr/bin/env node
import type { Config } from './config/config.ts';
import { ConfigError } from './config/config-error.ts';
import { describeSettings, readConfig } from './config/read-config.ts';
import { messageOf } from './model/errors.ts';
import { version } from './roles/version.ts';

const usage = `loam <command> [flags]

  node        the DaemonSet's process: CSI services, kubelet registration, provisioner
  controller  the Deployment's process: chooses nodes for claims, takes claims back from nodes that are gone
  all         node and controller in one process, for clusters of one node
  volumes     what is on this node's disks: claims, PersistentVolumes, where they are in use
  gc          what on this node's disks belongs to nobody, and removes one such volume if told so
  adopt       gives a PersistentVolume to an orphan, or to a folder or image in a pool
  undelete    gives a released PersistentVolume back to a claim
  demo        the whole story on an embedded control plane; needs no cluster and no root
  version

volumes, gc, adopt and undelete have a --help of their own.

flags of node, controller and all:
${describeSettings()}`;

async function main([command = 'help', ...argv]: readonly string[]): Promise<number> {
  switch (command) {
    case 'node':
    case 'controller':
    case 'all':
      if (argv.includes('--help')) break;
      await run(command, readConfig(argv), untilTold());
      return 0;
    case 'demo': {
      const { demo } = await import('./cli/demo/run-demo.ts');
      return demo(argv);
    }
    case 'volumes': {
      const { volumes } = await import('./cli/volumes.ts');
      return volumes(argv);
    }
    case 'gc': {
      const { gc } = await import('./cli/gc.ts');
      return gc(argv);
    }
    case 'adopt': {
      const { adopt } = await import('./cli/adopt.ts');
      return adopt(argv);
    }
    case 'undelete': {
      const { runUndelete } = await import('./cli/undelete/run-undelete.ts');
      return runUndelete(argv);
    }
    case 'version':
    case '--version':
      console.log(version);
      return 0;
    case 'help':
    case '--help':
    case '-h':
      break;
    default:
      console.error(`unknown command ${command}\n\n${usage}`);
      return 2;
  }
  console.log(usage);
  return 0;
}

/** Each role is loaded only when asked for: no process pays for another's. */
async function run(role: 'node' | 'controller' | 'all', config: Config, signal: AbortSignal): Promise<void> {
  if (role === 'controller') {
    const { runController } = await import('./roles/run-controller.ts');
    return runController(config, signal);
  }
  const { runNode } = await import('./roles/run-node.ts');
  if (role === 'node') return runNode(config, signal);
  const { startPlacement } = await import('./roles/start-placement.ts');
  // one who decides is enough; without published capacity placement could not
  const immediateOnThisNode = config.immediateOnThisNode && !config.capacity;
  return runNode({ ...config, immediateOnThisNode }, signal, startPlacement);
}

/** Aborts on the first SIGTERM or SIGINT; a second one ends the process at once. */
function untilTold(): AbortSignal {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort(new Error(`told to stop by ${name}`));
    });
  }
  return stop.signal;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isExpected =
    error instanceof ConfigError || (error instanceof Error && error.name === 'KubeAccessError');
  console.error(isExpected ? `loam: ${messageOf(error)}` : error);
  process.exitCode = isExpected ? 2 : 1;
}
