import { describe, expect, it } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { CsiError, type StatusCode } from '../../../src/model/status-code.ts';
import { decideState, isInfeasible } from '../../../src/provisioner/decide-state.ts';

const uncertain: StatusCode[] = ['CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE', 'ABORTED'];
const certain: StatusCode[] = [
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'FAILED_PRECONDITION',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

describe('decideState', () => {
  it.each(uncertain)('%s may have left a volume in the making', (code) => {
    expect(decideState(new CsiError(code, ''), true)).toBe('in-background');
  });

  it.each(certain)('%s is final', (code) => {
    expect(decideState(new CsiError(code, ''), true)).toBe('finished');
  });

  it('takes an error that is no CSI answer for an unknown outcome', () => {
    expect(decideState(new Error('socket closed'), true)).toBe('in-background');
  });

  it('sends a claim elsewhere when its selected node is full, and nowhere when none was selected', () => {
    const full = new StorageError('out-of-space', 'pool fast has 3 GiB free');
    expect(decideState(full, true)).toBe('reschedule');
    expect(decideState(full, false)).toBe('finished');
  });

  it('calls only InvalidArgument infeasible', () => {
    expect(isInfeasible(new CsiError('INVALID_ARGUMENT', ''))).toBe(true);
    for (const code of [...uncertain, ...certain.filter((code) => code !== 'INVALID_ARGUMENT')]) {
      expect(isInfeasible(new CsiError(code, ''))).toBe(false);
    }
  });
});
