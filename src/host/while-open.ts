/** Uses what was opened, and closes it whatever comes of that. (Node 22 knows no `await using`.) */
export async function whileOpen<T extends { close(): Promise<void> } | undefined, R>(
  opening: Promise<T>,
  use: (opened: T) => Promise<R>,
): Promise<R> {
  const opened = await opening;
  try {
    return await use(opened);
  } finally {
    await opened?.close();
  }
}
