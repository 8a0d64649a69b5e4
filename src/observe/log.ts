import { pino } from 'pino';
import type { Log } from '../model/log.ts';

/** Whoever writes a class or an annotation has its text told here, and shall not fill the node's disk with it. */
const longestText = 4096;

/** Bytes are bigint here and JSON knows none: numbers where they are safe, text beyond. */
function plain(value: unknown): unknown {
  if (typeof value === 'string' && value.length > longestText) return `${value.slice(0, longestText)}…`;
  if (typeof value !== 'bigint') return value;
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

function plainFacts(facts: object): object {
  return Object.fromEntries(Object.entries(facts).map(([key, value]) => [key, plain(value)]));
}

/**
 * JSON lines on standard error, written synchronously: the last line before a crash is the one that is needed.
 * Errors under `error` or `err` come out with type, message and stack.
 */
export function createLog(level: 'debug' | 'info' | 'warn' | 'error', base: object): Log {
  const root = pino(
    {
      level,
      base,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (facts) => plainFacts(facts) as Record<string, unknown>,
      },
      serializers: { error: pino.stdSerializers.err, err: pino.stdSerializers.err },
    },
    pino.destination({ fd: 2, sync: true }),
  );
  return root;
}
