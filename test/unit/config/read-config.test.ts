import { describe, expect, it } from 'vitest';
import { describeSettings, readConfig, type Surroundings } from '../../../src/config/read-config.ts';

const files: Record<string, string> = {
  '/etc/loam.yaml':
    'nodeName: from-file\nearly: false\npools:\n  - name: fast\n    path: /data/fast\n    overcommit: 2\n    reserved: 10%\n',
  '/etc/mounted.yaml': 'pools:\n  - name: a\n    path: /x\n    mounted: true\n',
  '/etc/typo.yaml': 'nodename: x\n',
};
const around = (env: Record<string, string> = {}): Surroundings => ({
  env,
  hostName: 'host',
  readFile: (path) => {
    const text = files[path];
    if (text === undefined) throw new Error(`ENOENT: ${path}`);
    return text;
  },
});
const read = (argv: string[], env: Record<string, string> = {}) => readConfig(argv, around(env));

describe('the configuration', () => {
  it('has working defaults', () => {
    expect(read([])).toMatchObject({
      driverName: 'loam.dev',
      nodeName: 'host',
      pools: [],
      early: true,
      writePhase: true,
      kube: {},
    });
  });

  it('takes a flag before the environment, that before the file, that before the default', () => {
    expect(read([]).nodeName).toBe('host');
    expect(read(['--config', '/etc/loam.yaml']).nodeName).toBe('from-file');
    expect(read(['--config', '/etc/loam.yaml'], { LOAM_NODE_NAME: 'from-env' }).nodeName).toBe('from-env');
    expect(
      read(['--config', '/etc/loam.yaml', '--node-name', 'from-flag'], { LOAM_NODE_NAME: 'from-env' })
        .nodeName,
    ).toBe('from-flag');
  });

  it('gives pods no inline volumes unless it is said how large they may be', () => {
    expect(read([]).inlineMaxBytes).toBe(0n);
    expect(read(['--inline-max-size=5Gi']).inlineMaxBytes).toBe(5n << 30n);
    expect(read([], { LOAM_INLINE_MAX_SIZE: '1Gi' }).inlineMaxBytes).toBe(1n << 30n);
    expect(() => read(['--inline-max-size=lots'])).toThrow(/--inline-max-size.*not a size/);
  });

  it('has retained volumes yield below a tenth of a pool, and knows no cap for namespaces, unless told', () => {
    expect(read([])).toMatchObject({ retainedYieldBelow: 0.1, retainedPerNamespaceBytes: 0n });
    expect(read(['--retained-yield-below=2.5%', '--retained-per-namespace=5Gi'])).toMatchObject({
      retainedYieldBelow: 0.025,
      retainedPerNamespaceBytes: 5n << 30n,
    });
    expect(read(['--retained-yield-below=0%']).retainedYieldBelow).toBe(0);
    for (const share of ['100%', '10', '-1%', 'much'])
      expect(() => read([`--retained-yield-below=${share}`])).toThrow(/share such as 10%/);
  });

  it('reads pools from the file and from flags', () => {
    const fast = {
      name: 'fast',
      path: '/data/fast',
      overcommitRatio: 2,
      reservedShare: 0.1,
      initialise: true,
    };
    expect(read(['--config', '/etc/loam.yaml']).pools).toEqual([fast]);
    expect(
      read(['--pool', 'fast=/data/fast,overcommit=2,reserved=10%', '--pool', 'slow=/data/slow,init=false'])
        .pools,
    ).toEqual([
      fast,
      { name: 'slow', path: '/data/slow', overcommitRatio: 1, reservedShare: 0.05, initialise: false },
    ]);
  });

  it('takes a pool only where it is mounted, when told so', () => {
    const pool = { name: 'a', path: '/x', overcommitRatio: 1, reservedShare: 0.05, initialise: true };
    expect(read(['--pool', 'a=/x']).pools).toEqual([pool]);
    expect(read(['--pool', 'a=/x,mounted=true']).pools).toEqual([{ ...pool, mustBeMounted: true }]);
    expect(read(['--pool', 'a=/x,mounted=false']).pools).toEqual([{ ...pool, mustBeMounted: false }]);
    expect(read(['--config', '/etc/mounted.yaml']).pools).toEqual([{ ...pool, mustBeMounted: true }]);
  });

  it('is told of what class the volumes are that a pool finds in its discovery folder', () => {
    const pool = { name: 'a', path: '/x', overcommitRatio: 1, reservedShare: 0.05, initialise: true };
    for (const [text, sizeBytes] of [
      ['found', 1n << 30n],
      ['found:50Gi', 50n << 30n],
    ] as const) {
      const discover = { className: 'found', sizeBytes };
      expect(read(['--pool', `a=/x,discover=${text}`]).pools).toEqual([{ ...pool, discover }]);
    }
  });

  it('is told whether the tenants of a pool are trusted', () => {
    const pool = { name: 'a', path: '/x', overcommitRatio: 1, reservedShare: 0.05, initialise: true };
    for (const tenants of ['trusted', 'untrusted']) {
      expect(read(['--pool', `a=/x,tenants=${tenants}`]).pools).toEqual([{ ...pool, tenants }]);
    }
  });

  it.each([
    [['--no-early'], false],
    [['--early=false'], false],
    [['--early', 'false'], false],
    [['--early'], true],
  ])('reads the switch %j', (argv, early) => {
    expect(read(argv).early).toBe(early);
  });

  it('runs without an API server when told so', () => {
    expect(read(['--no-kube']).kube).toBeUndefined();
  });

  it('finds its namespace in the flag, the pod, the service account, and at last in default', () => {
    expect(read([]).namespace).toBe('default');
    files['/var/run/secrets/kubernetes.io/serviceaccount/namespace'] = 'of-account\n';
    try {
      expect(read([]).namespace).toBe('of-account');
      expect(read([], { POD_NAMESPACE: 'of-pod' }).namespace).toBe('of-pod');
      expect(read([], { POD_NAMESPACE: 'of-pod', LOAM_NAMESPACE: 'told' }).namespace).toBe('told');
      expect(read(['--namespace=flag'], { LOAM_NAMESPACE: 'told' }).namespace).toBe('flag');
    } finally {
      delete files['/var/run/secrets/kubernetes.io/serviceaccount/namespace'];
    }
  });

  it('reads how long a node may be away, and whether leaders are elected', () => {
    expect(read([])).toMatchObject({ unreachableAfterMs: 300_000, leaderElect: true, nodeLoss: 'off' });
    const said = ['--unreachable-after=1h30m', '--no-leader-elect'];
    expect(read(said)).toMatchObject({ unreachableAfterMs: 5_400_000, leaderElect: false });
  });

  it.each([
    [['--unreachable-after=5'], /--unreachable-after: "5" is not a duration; write it as 30s/],
    [['--namespace=Kube_System'], /--namespace is "Kube_System"/],
    [['--pool', 'fast'], /write it as name=\/path/],
    [['--pool', 'fast=data'], /absolute path/],
    [['--pool', 'fast=/a/../etc'], /absolute path/],
    [['--pool', 'Fast=/a'], /pool name/],
    [['--pool', 'a=/x', '--pool', 'b=/x'], /same name or the path/],
    [['--pool', 'a=/x,overcommit=0.5'], /from 1 to 1000/],
    [['--pool', 'a=/x,reserved=100%'], /share such as 5%/],
    [['--pool', 'a=/x,init=no'], /option init is "no"; it is true or false/],
    [['--pool', 'a=/x,mounted'], /option mounted is ""; it is true or false/],
    [['--pool', 'a=/x,discover='], /option discover is ""; it takes a StorageClass's name/],
    [['--pool', 'a=/x,discover=found:lots'], /option discover is "found:lots"/],
    [['--pool', 'a=/x,discover=found:0'], /option discover is "found:0"/],
    [['--pool', 'a=/x,tenants=yes'], /option tenants is "yes"; it is trusted or untrusted/],
    [['--pool', 'a=/x,size=5'], /unknown option size/],
    [['--max-volumes', '-1'], /./],
    [['--max-volumes', 'many'], /whole number/],
    [['--scrub-rate', 'fast'], /not a size/],
    [['--log-level', 'loud'], /debug or info/],
    [['--csi-socket', `/${'x'.repeat(120)}`], /at most 104/],
    [['--driver-name', 'loam-'], /at most 63/],
    [['--unknown', 'x'], /unknown/i],
    [['--config', '/etc/none.yaml'], /cannot read/],
    [['--config', '/etc/typo.yaml'], /nodename/],
  ])('refuses %j and names the flag', (argv, message) => {
    expect(() => read(argv)).toThrow(message);
  });

  it('describes every flag', () => {
    expect(describeSettings()).toContain('--scrub-rate');
  });
});
