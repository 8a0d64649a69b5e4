import type { VolumeCondition } from '../../model/csi-driver.ts';

export interface ConditionNews {
  readonly type: 'Normal' | 'Warning';
  readonly reason: 'VolumeConditionAbnormal' | 'VolumeConditionNormal';
  readonly message: string;
}

/**
 * What is to be told of a volume's condition, given the one that was told last (external-health-monitor's reasons). Only what changed:
 * an abnormal condition whose sentence differs in its numbers is the same.
 *
 * @param told unset: nothing was told since this process began, and healthy goes without saying
 */
export function decideConditionNews(
  told: VolumeCondition | undefined,
  now: VolumeCondition,
): ConditionNews | undefined {
  if (!now.abnormal) {
    if (told?.abnormal !== true) return undefined;
    const message = 'The Volume returns to the healthy state';
    return { type: 'Normal', reason: 'VolumeConditionNormal', message };
  }
  if (told?.abnormal === true && withoutNumbers(told.message) === withoutNumbers(now.message))
    return undefined;
  return { type: 'Warning', reason: 'VolumeConditionAbnormal', message: now.message };
}

function withoutNumbers(text: string): string {
  return text.replace(/\d+(\.\d+)?/g, '#');
}
