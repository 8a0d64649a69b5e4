import { describe, expect, it } from 'vitest';
import { describeSettings, readConfig, type Surroundings } from '../../../src/config/read-config.ts';

const files: Record<string, string> = {
  '/etc/loam.yaml':
    'nodeName: from-file\nearly: false\npools:\n  - name: fast\n    path: /data/fast\n    overcommit: 2\n    reserved: 10%\n',
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

  it.each([
    [['--pool', 'fast'], /write it as name=\/path/],
    [['--pool', 'fast=data'], /absolute path/],
    [['--pool', 'fast=/a/../etc'], /absolute path/],
    [['--pool', 'Fast=/a'], /pool name/],
    [['--pool', 'a=/x', '--pool', 'b=/x'], /same name or the path/],
    [['--pool', 'a=/x,overcommit=0.5'], /from 1 to 1000/],
    [['--pool', 'a=/x,reserved=100%'], /share such as 5%/],
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
