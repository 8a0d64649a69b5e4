import type { World } from './world.ts';

/** One thing that happens, and how one sees that it did. */
export interface Step {
  readonly title: string;
  /** steps that a user namespace cannot have are named and passed over there */
  readonly needs?: 'loop devices';
  act(world: World): Promise<void>;
  /** @returns what was seen, for people. @throws StepFailure */
  check(world: World): Promise<string>;
}
