import { describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { conflictMs, endFailedTurn } from '../../../src/provisioner/failed-turn.ts';

const going = new AbortController().signal;

describe('a turn in which something failed', () => {
  it.each([
    ['is done where the object is gone', new ApiError(404, 'NotFound', 'gone'), { kind: 'done' }, []],
    [
      'is taken again soon where somebody wrote first',
      new ApiError(409, 'Conflict', 'changed'),
      { kind: 'retry', afterMs: conflictMs },
      [],
    ],
    [
      'is told, and taken again when the server asked for it',
      new ApiError(429, 'TooManyRequests', 'slowly', 7_000),
      { kind: 'retry', afterMs: 7_000 },
      ['slowly'],
    ],
    ['is told, and taken again with back-off', new Error('broken'), { kind: 'retry' }, ['broken']],
  ])('%s', (_, error, outcome, told) => {
    const heard: string[] = [];
    expect(endFailedTurn(error, going, (why) => void heard.push(why))).toEqual(outcome);
    expect(heard).toEqual(told);
  });

  it('is done, without a word, where the process ends', () => {
    const heard: string[] = [];
    const outcome = endFailedTurn(new Error('aborted'), AbortSignal.abort(), (why) => void heard.push(why));
    expect([outcome, heard]).toEqual([{ kind: 'done' }, []]);
  });
});
