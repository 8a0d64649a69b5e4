/**
 * Does something with every item, at most `width` at once. After a failure nothing new is begun; it rejects with the
 * first failure once everything begun has ended, so that no work goes on behind the caller's back.
 */
export async function inLanes<T>(
  items: readonly T[],
  width: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const failures: unknown[] = [];
  const rest = items.values();
  const lane = async () => {
    // the lanes share one iterator: each takes the next item that nobody has
    for (const item of rest) {
      try {
        await act(item);
      } catch (error) {
        failures.push(error);
      }
      if (failures.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  if (failures.length > 0) throw failures[0];
}
