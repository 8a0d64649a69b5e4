import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { serveNbd } from './nbd-session.ts';

const sectorBytes = 512;
const chunkBytes = 1 << 16;
/**
 * A disk with a cache that forgets: writes are acknowledged from memory and are on the platter only after a flush. It is served by the
 * NBD protocol over a Unix socket, for an emulated machine. At any moment it tells what a power cut would leave.
 */
export class VolatileDisk implements AsyncDisposable {
  /** as whoever uses it sees it */
  readonly #current: Buffer;
  /** what is on the platter */
  readonly #durable: Buffer;
  /** sectors written since the last flush, each with all that it held in between: a cache writes when and what it likes */
  readonly #pending = new Map<number, Buffer[]>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  flushes = 0;

  private constructor(imagePath: string) {
    this.#current = readFileSync(imagePath);
    this.#durable = Buffer.from(this.#current);
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      serveNbd(socket, this);
    });
  }

  static async serve(imagePath: string, socketPath: string): Promise<VolatileDisk> {
    const disk = new VolatileDisk(imagePath);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    disk.#server.once('error', reject).listen(socketPath, resolve);
    await promise;
    return disk;
  }

  get sizeBytes(): number {
    return this.#current.length;
  }

  /** Writes as an image what would be left if the power went now: of each sector in the cache one of its contents, old or new. */
  cut(imagePath: string, survives: () => boolean): void {
    const left = Buffer.from(this.#durable);
    for (const [sector, versions] of this.#pending) {
      // never older than one that survived by chance before: which one does not matter
      const version = versions.findLast(survives);
      version?.copy(left, sector * sectorBytes);
    }
    writeSparse(imagePath, left);
  }

  read(offset: number, length: number): Buffer {
    return this.#current.subarray(offset, offset + length);
  }

  write(offset: number, data: Buffer, isDurable: boolean): void {
    data.copy(this.#current, offset);
    for (let at = 0; at < data.length; at += sectorBytes) {
      const sector = (offset + at) / sectorBytes;
      const content = Buffer.from(data.subarray(at, at + sectorBytes));
      if (isDurable) {
        this.#pending.delete(sector);
        content.copy(this.#durable, offset + at);
      } else {
        const versions = this.#pending.get(sector);
        if (versions === undefined) this.#pending.set(sector, [content]);
        else versions.push(content);
      }
    }
  }

  flush(): void {
    this.flushes += 1;
    for (const [sector, versions] of this.#pending)
      versions.at(-1)?.copy(this.#durable, sector * sectorBytes);
    this.#pending.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
  }
}

function writeSparse(path: string, content: Buffer): void {
  const zeros = Buffer.alloc(chunkBytes);
  const fd = openSync(path, 'w', 0o600);
  try {
    ftruncateSync(fd, content.length);
    for (let at = 0; at < content.length; at += chunkBytes) {
      const chunk = content.subarray(at, at + chunkBytes);
      if (!chunk.equals(zeros.subarray(0, chunk.length))) writeSync(fd, chunk, 0, chunk.length, at);
    }
  } finally {
    closeSync(fd);
  }
}
