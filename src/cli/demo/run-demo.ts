import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Directory } from '../../host/directory.ts';
import { writeDurably } from '../../host/durable-file.ts';
import { messageOf } from '../../model/errors.ts';
import { silentLog } from '../../model/log.ts';
import { noMetrics } from '../../model/metrics.ts';
import { systemClock } from '../../model/system-clock.ts';
import { createLog } from '../../observe/log.ts';
import { demoUsage, parseDemoArguments, type DemoArguments } from './arguments.ts';
import { startDemoCluster } from './demo-cluster.ts';
import { DemoFolder } from './demo-folder.ts';
import { missingHere } from './machine.ts';
import { tellStory, type Stage } from './tell-story.ts';

/**
 * `loam demo`: the whole story in one process, and then a control plane for the user's own kubectl.
 *
 * @returns the exit code: 0, 1 where a step did not come true, 2 for a command line or a machine that will not do
 */
export async function demo(argv: readonly string[]): Promise<number> {
  let options: DemoArguments;
  try {
    options = parseDemoArguments(argv, tmpdir());
  } catch (error) {
    console.error(`loam demo: ${messageOf(error)}\n\n${demoUsage}`);
    return 2;
  }
  if (options.help) {
    console.log(demoUsage);
    return 0;
  }
  if (process.getuid?.() !== 0) {
    console.error(
      'loam demo mounts volumes: start it with scripts/demo, which makes a user namespace for that, or as root',
    );
    return 2;
  }
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new Error('told to stop'));
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    return await run(options, stop);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

async function run(options: DemoArguments, stop: AbortController): Promise<number> {
  const stage: Stage = {
    print: (line) => console.log(line),
    useColour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
  };
  const folder = await DemoFolder.make(options.parentPath);
  const ending = new AbortController();
  const log = options.verbose ? createLog('debug', {}) : silentLog;
  try {
    const context = { clock: systemClock, log, metrics: noMetrics, signal: ending.signal };
    const cluster = await startDemoCluster(folder.path, options.port, context);
    try {
      stage.print(`Loam on an embedded control plane; everything it makes lies in ${folder.path}`);
      if (folder.remark !== '') stage.print(folder.remark);
      const world = { ...cluster.world, signal: stop.signal };
      const { passed, skipped, failed } = await tellStory(world, stage, await missingHere());
      stage.print(
        `\n${passed} steps came true, ${skipped} skipped${failed === undefined ? '' : `, failed at: ${failed}`}`,
      );
      if (failed !== undefined) return 1;
      if (!options.check) await stayUp(folder.path, cluster.kubeconfigText, stage, stop.signal);
      return 0;
    } finally {
      await cluster.close();
    }
  } finally {
    ending.abort();
    await folder.remove();
  }
}

async function stayUp(
  folderPath: string,
  kubeconfigText: string,
  { print }: Stage,
  signal: AbortSignal,
): Promise<void> {
  const directory = await Directory.open(folderPath);
  await writeDurably(directory, 'kubeconfig', kubeconfigText);
  await directory.close();
  print(`
Now yours, until Ctrl-C. In another terminal:

  export KUBECONFIG=${join(folderPath, 'kubeconfig')}
  kubectl get storageclasses
  kubectl get pvc,pv,pods,events
  kubectl apply -f - <<'EOF'
  apiVersion: v1
  kind: PersistentVolumeClaim
  metadata: {name: mine}
  spec:
    accessModes: [ReadWriteOnce]
    storageClassName: immediate
    resources: {requests: {storage: 10Mi}}
  EOF
  kubectl get pvc -w
  ls -lR ${join(folderPath, 'pool')}
`);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
