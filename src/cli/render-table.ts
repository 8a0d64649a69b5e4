import { control } from '../model/told-text.ts';

/** Columns as wide as their widest cell, two blanks between them, none at a line's end; an empty cell is a dash. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows.map((row) => row.map((cell) => plain(cell) || '-'))];
  const widths = head.map((_, column) =>
    all.reduce((widest, row) => Math.max(widest, (row[column] ?? '').length), 0),
  );
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Names and reasons come from disks and from the API: a line stays a line, and no terminal is told anything. */
export function plain(text: string): string {
  return text.replace(control, '\n').replaceAll(/\n+/g, ' ').trim();
}
