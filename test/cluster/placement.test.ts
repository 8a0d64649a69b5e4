import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { removeAll, removeRest } from '../support/cluster-leftovers.ts';
import { eventually } from '../support/eventually.ts';
import { OwnNamespace } from '../support/own-namespace.ts';
import { claimOf, classOf, freshName, podOf } from '../support/pods.ts';
import {
  kubectlEveryMs,
  nodesOfCluster,
  pidInPod,
  RealCluster,
  whyNoCluster,
} from '../support/real-cluster.ts';

const why = await whyNoCluster();
const cluster = new RealCluster();
const inLoams = ['--namespace=loam-system'];
const modes = ['Immediate', 'WaitForFirstConsumer'] as const;

function immediate(extra: object = {}): object {
  return classOf('special', { volumeBindingMode: 'Immediate', ...extra });
}

function claimsOf(names: readonly string[], size: string): readonly object[] {
  return names.map((name) => claimOf(name, { className: 'special', size }));
}

function numbered(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `claim-${index}`);
}

/** Where the PVs of these claims are, in their order. */
async function nodesOf(claims: readonly string[]): Promise<readonly string[]> {
  const all = await cluster.nodesOfVolumes();
  return claims.map((claim) => all.get(`default/${claim}`) ?? '');
}

function countOn(nodes: readonly string[]): Readonly<Record<string, number>> {
  return Object.fromEntries(
    nodesOfCluster().map((name) => [name, nodes.filter((node) => node === name).length]),
  );
}

/** Time for whoever would say something twice: a volume comes and goes on each node, and room changes with it. */
async function othersComeAndGo(cluster: RealCluster): Promise<void> {
  const names = nodesOfCluster().map((node) => `other-${node}`);
  await cluster.apply(
    ...names.map((name) => claimOf(name)),
    ...nodesOfCluster().map((node) => podOf(`other-${node}`, `other-${node}`, { node })),
  );
  for (const name of names) await cluster.untilRunning(name);
  const volumes = await Promise.all(names.map((name) => cluster.field('pvc', name, '.spec.volumeName')));
  await cluster.remove('pods', ...names);
  await cluster.remove('pvc', ...names);
  for (const volume of volumes) await cluster.untilField('pv', volume, '.metadata.name', '');
}

describe.skipIf(why !== undefined)(`the choice of a node${why === undefined ? '' : ` (${why})`}`, () => {
  afterEach(async () => {
    await cluster.kubectl(['uncordon', ...nodesOfCluster()]);
    await removeAll(cluster);
    await cluster.remove('storageclass', 'special');
  });

  it('binds claims of an Immediate class without pods, spread over the nodes, and pods run where they are', async () => {
    const names = numbered(9);
    const beganMs = performance.now();
    // larger than what else may come and go on the disk that the test's nodes share
    await cluster.apply(immediate(), ...claimsOf(names, '1Gi'));
    await cluster.untilBound(names);
    const nodes = await nodesOf(names);
    console.log(
      `9 claims bound after ${Math.round(performance.now() - beganMs)} ms: ${JSON.stringify(countOn(nodes))}`,
    );
    for (const count of Object.values(countOn(nodes))) expect(count).toBeGreaterThanOrEqual(2);
    const pods = names.filter((_, index) => nodes.indexOf(nodes[index] ?? '') === index);
    expect(pods).toHaveLength(3);
    await cluster.apply(...pods.map((name) => podOf(name, name, { first: 'hostname > /data/name' })));
    for (const name of pods) {
      await cluster.untilRunning(name);
      expect(await cluster.nodeOf(name)).toBe(nodes[names.indexOf(name)]);
      expect(await cluster.sh(name, 'cat /data/name')).toBe(name);
    }
  });

  it('gives a cordoned node none', async () => {
    const names = numbered(8);
    await cluster.kubectl(['cordon', 'node-a']);
    await cluster.apply(immediate(), ...claimsOf(names, '1Gi'));
    await cluster.untilBound(names);
    const counts = countOn(await nodesOf(names));
    console.log(`with node-a cordoned: ${JSON.stringify(counts)}`);
    expect(counts['node-a']).toBe(0);
    expect(counts['node-b']).toBeGreaterThan(0);
    expect(counts['node-c']).toBeGreaterThan(0);
  });

  it('keeps to the allowedTopologies of the class', async () => {
    const names = numbered(4);
    const only = [{ key: 'topology.loam.dev/node', values: ['node-c'] }];
    await cluster.apply(
      immediate({ allowedTopologies: [{ matchLabelExpressions: only }] }),
      ...claimsOf(names, '64Mi'),
    );
    await cluster.untilBound(names);
    expect(countOn(await nodesOf(names))).toEqual({ 'node-a': 0, 'node-b': 0, 'node-c': 4 });
  });

  it.each(['deleted', 'killed'])(
    'finishes a burst in whose middle the controller at work is %s',
    async (end) => {
      const ready = () =>
        cluster.kubectl([
          ...inLoams,
          'get',
          'deployment',
          'loam-controller',
          '--output=jsonpath={.status.readyReplicas}',
        ]);
      await eventually('two controllers ready', async () => (await ready()) === '2', 60_000, kubectlEveryMs);
      const leader = () =>
        cluster.kubectl([
          ...inLoams,
          'get',
          'lease',
          'loam-controller',
          '--output=jsonpath={.spec.holderIdentity}',
        ]);
      const first = await leader();
      const uid = await cluster.kubectl([
        ...inLoams,
        'get',
        'pod',
        first,
        '--output=jsonpath={.metadata.uid}',
      ]);
      const names = numbered(30);
      const beganMs = performance.now();
      const seconds = () => ((performance.now() - beganMs) / 1000).toFixed(1);
      await cluster.apply(immediate());
      const applied = cluster.apply(...claimsOf(names, '64Mi'));
      const placed = await eventually('the first PVs', async () => {
        const { size } = await cluster.nodesOfVolumes();
        return size > 3 && size;
      });
      if (end === 'deleted') await cluster.kubectl([...inLoams, 'delete', 'pod', first, '--wait=false']);
      else process.kill(pidInPod(uid) ?? Number.NaN, 'SIGKILL');
      await applied;
      await cluster.untilBound(names);
      console.log(
        `leader ${end} with ${placed} of 30 PVs there: all bound after ${seconds()} s; ${first} -> ${await leader()}`,
      );
      // nodesOfVolumes would not take two PVs of one claim
      expect([...(await cluster.nodesOfVolumes()).keys()].toSorted()).toEqual(
        names.map((name) => `default/${name}`).toSorted(),
      );
      await eventually(
        'two controllers ready again',
        async () => (await ready()) === '2',
        60_000,
        kubectlEveryMs,
      );
    },
  );
});

describe.skipIf(why !== undefined)(
  `a claim for which there is no node${why === undefined ? '' : ` (${why})`}`,
  { concurrent: true },
  () => {
    const classes: string[] = [];
    /** A pod that waits for a claim of a class of its own. @returns claim and class */
    async function hopeless(
      cluster: RealCluster,
      {
        size,
        ...extra
      }: { readonly size: string; readonly volumeBindingMode: string; readonly parameters?: object },
    ): Promise<readonly [string, string]> {
      const [claim, className] = [freshName('hopeless'), freshName('class')];
      classes.push(className);
      await cluster.apply(
        classOf(className, extra),
        claimOf(claim, { className, size }),
        podOf('pending', claim),
      );
      return [claim, className];
    }

    afterAll(async () => {
      await removeRest(cluster);
      await cluster.remove('storageclass', ...classes);
    });

    it.each(modes)(
      'says once, with the numbers of each node, that none has room (%s)',
      async (volumeBindingMode) => {
        await using own = await OwnNamespace.open();
        const [claim, className] = await hopeless(own, { size: '900Ti', volumeBindingMode });
        console.log(await own.untilEvent(claim, /ProvisioningFailed/));
        await othersComeAndGo(own);
        const warnings = await own.warningsAbout(claim);
        expect(warnings).toHaveLength(1);
        expect(warnings[0]).toContain(`1 ProvisioningFailed: no node has 900 TiB for class ${className}: `);
        for (const node of nodesOfCluster())
          expect(warnings[0]).toMatch(new RegExp(`${node} has [\\d.]+ [GT]iB`));
        expect(await own.field('pod', 'pending', '.status.phase')).toBe('Pending');
      },
    );

    it.each(modes)(
      'says once which parameter of the class does not exist (%s)',
      async (volumeBindingMode) => {
        await using own = await OwnNamespace.open();
        const parameters = { bakend: 'directory' };
        const [claim] = await hopeless(own, { size: '64Mi', volumeBindingMode, parameters });
        console.log(await own.untilEvent(claim, /ProvisioningFailed/));
        await othersComeAndGo(own);
        const warnings = await own.warningsAbout(claim);
        expect(warnings).toHaveLength(1);
        expect(warnings[0]).toMatch(/^1 ProvisioningFailed: .*bakend/);
        expect(await own.field('pod', 'pending', '.status.phase')).toBe('Pending');
      },
    );
  },
);
