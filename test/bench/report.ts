import type { Row } from './figures.ts';

/** Takes one measurement: a row for people, and its numbers under a key. */
export type Report = (key: string, row: Row, value: unknown) => void;
